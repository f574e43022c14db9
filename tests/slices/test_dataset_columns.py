"""Slices from what a dataset says: RAF-DB's attributes, KDEF's file names, the votes of FER+."""

import numpy as np
import pytest
from fakes import toy_faces
from image_folders import encoded, write_images

from fer_models.datasets import folders
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError
from fer_models.slices.dataset_columns import dataset_columns


def columns_of(faces):
    return {
        column.name: [column.levels[code] if code >= 0 else "" for code in column.codes]
        for column in dataset_columns(faces)
    }


def write_raf_db(root, attributes):
    """One face per content of an attribute file; None writes none."""
    lines = []
    for i, content in enumerate(attributes):
        name = f"test_{i:04d}"
        write_images(root, f"Image/aligned/{name}_aligned.jpg", data=encoded("JPEG"))
        lines.append(f"{name}.jpg {1 + i % 7}")
        if content is not None:
            path = root / "Annotation" / "manual" / f"{name}_manu_attri.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))


LANDMARKS = "30.1\t40.2\n" * 5


def test_raf_dbs_gender_race_and_age_are_read(tmp_path):
    write_raf_db(tmp_path, [f"{LANDMARKS}0\n1\n2\n", f"{LANDMARKS}1\n0\n4", f"{LANDMARKS}2\n2\n0\n\n"])
    assert columns_of(folders.load("test", tmp_path)) == {
        "age": ["20-39", "70 and more", "0-3"],
        "gender": ["male", "female", "unsure"],
        "race": ["African-American", "Caucasian", "Asian"],
    }


@pytest.mark.parametrize("content", [None, "", "one\ntwo\nthree", "0\n1", f"{LANDMARKS}0\n1\n99\n"])
def test_an_attribute_file_that_cannot_be_read_is_counted_and_no_error(tmp_path, content):
    write_raf_db(tmp_path, [f"{LANDMARKS}0\n1\n2\n", content])
    faces = folders.load("test", tmp_path)
    assert columns_of(faces)["gender"] == ["male", ""]
    assert "1 faces have no readable attributes in Annotation/manual" in faces.notes


def test_a_number_outside_the_codebook_is_no_value(tmp_path):
    write_raf_db(tmp_path, [f"{LANDMARKS}0\n7\n2\n", f"{LANDMARKS}0\n1\n2\n"])
    assert columns_of(folders.load("test", tmp_path))["race"] == ["", "African-American"]


def test_raf_db_without_attributes_has_none(tmp_path):
    write_raf_db(tmp_path, [None, None])
    assert folders.load("test", tmp_path).attributes == {}


def test_kdefs_sex_and_view_are_in_its_file_names(tmp_path):
    write_images(tmp_path, "AF01/AF01ANS.JPG", "AM02/AM02HAHL.JPG", "BM03/bm03safr.jpg")
    assert columns_of(folders.load("all", tmp_path)) == {
        "sex": ["female", "male", "male"],
        "view": ["straight", "half left", "full right"],
    }


def test_the_agreement_of_annotators_is_a_column_where_there_are_votes():
    faces, votes = toy_faces(7), np.zeros((7, 10), dtype=np.int64)
    votes[:, 0] = [10, 9, 8, 6, 5, 4, 0]
    voted = FaceSet("fer2013", "test", faces.images, faces.labels, votes=votes)
    nearly_all, most, others = (f"{name} of 10 agree" for name in ("9-10", "6-8", "0-5"))
    assert columns_of(voted) == {"agreement": [nearly_all] * 2 + [most] * 2 + [others] * 3}
    assert dataset_columns(faces) == []


def test_attributes_follow_their_faces_and_must_be_one_per_face():
    faces = toy_faces(7)
    named = FaceSet("a", "test", faces.images, faces.labels, attributes={"sex": list("fmfmfmf")})
    assert named.select([1, 0, 6]).attributes == {"sex": ["m", "f", "f"]}
    with pytest.raises(DatasetError, match="7 images and 2 values of sex"):
        FaceSet("a", "test", faces.images, faces.labels, attributes={"sex": ["f", "m"]})
