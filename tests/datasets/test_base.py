"""Face sets: hashes, fingerprints, stratified subsets, and loading by name."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models import datasets
from fer_models.datasets import FaceSet, fer2013, hub, synthetic_drawing
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import DatasetError, UnknownNameError, UsageError

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def face_set(labels: list[int], notes: tuple[str, ...] = ()) -> FaceSet:
    """One 4x4 face per label, all different."""
    images = np.zeros((len(labels), 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(len(labels))
    return FaceSet(
        "synthetic",
        "test",
        images,
        np.array(labels, np.int64),
        [f"row {i}" for i in range(len(labels))],
        notes,
    )


# -- hashes and fingerprints --------------------------------------------------------------------------


@given(label_lists, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_fingerprint_does_not_depend_on_the_order_of_rows(labels: list[int], random: object) -> None:
    faces = face_set(labels)
    rows = list(range(len(labels)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert faces.select(rows).fingerprint == faces.fingerprint


@given(label_lists, st.data())
@settings(max_examples=40, deadline=None)
def test_the_fingerprint_depends_on_every_label_and_every_pixel(
    labels: list[int], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(labels) - 1))
    faces = face_set(labels)
    relabelled = face_set([*labels[:at], (labels[at] + 1) % 7, *labels[at + 1 :]])
    repainted = face_set(labels)
    np.asarray(repainted.images)[at, 3, 3] += 1
    assert len({faces.fingerprint, relabelled.fingerprint, repainted.fingerprint}) == 3


def test_a_repeated_face_counts_twice_in_the_fingerprint() -> None:
    faces = face_set([0, 1])
    assert faces.select([0, 1, 1]).fingerprint != faces.fingerprint


def test_grey_and_rgb_copies_of_a_face_are_one_face() -> None:
    grey = face_set([0, 5])
    rgb = FaceSet("synthetic", "test", np.repeat(np.asarray(grey.images)[..., None], 3, axis=3), grey.labels)
    assert rgb.hashes == grey.hashes
    assert rgb.fingerprint == grey.fingerprint


def test_selected_rows_have_their_images_labels_sources_hashes_and_notes() -> None:
    faces = face_set([0, 1, 2, 3], notes=("one",))
    for hashed in (False, True):  # before and after the hashes were computed
        taken = faces.select([3, 1], "two").select([1])
        assert (taken.labels.tolist(), taken.sources, taken.notes) == ([1], ["row 1"], ("one", "two"))
        assert taken.hashes == (face_set([0, 1, 2, 3]).hashes[1],)
        assert faces.hashes[3] != faces.hashes[1], hashed


def test_votes_stay_with_their_faces_when_rows_are_selected_or_limited() -> None:
    labels = np.arange(20, dtype=np.int64) % 7
    images = np.zeros((20, 4, 4), np.uint8)
    faces = FaceSet("synthetic", "test", images, labels, votes=np.arange(200, dtype=np.int64).reshape(20, 10))
    assert faces.select([3, 1]).select([1]).votes.tolist() == [list(range(10, 20))]
    rows = faces.stratified_rows(9)
    assert np.array_equal(faces.subsample(9).votes[:, 0], 10 * rows)
    assert face_set([0, 1]).select([1]).votes is None


def test_votes_for_another_number_of_faces_are_refused() -> None:
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1], np.int64)
    with pytest.raises(DatasetError, match="synthetic/test: 2 images and votes for 3 do not match"):
        FaceSet("synthetic", "test", images, labels, votes=np.zeros((3, 10), np.int64))


def test_batches_are_the_faces_in_order_the_last_one_shorter() -> None:
    faces = face_set([0, 1, 2, 3, 4])
    batches = [(rows.tolist(), [int(face[0, 0, 2]) for face in batch]) for rows, batch in faces.batches(2)]
    assert batches == [([0, 1], [0, 1]), ([2, 3], [2, 3]), ([4], [4])]
    assert faces.face(4).shape == (4, 4, 3)


@given(label_lists)
@settings(deadline=None)
def test_counts_name_all_seven_emotions_and_add_up(labels: list[int]) -> None:
    counts = face_set(labels).counts
    assert list(counts) == list(LABELS)
    assert sum(counts.values()) == len(labels)
    assert all(counts[EMOTIONS[label].label] == labels.count(label) for label in labels)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DatasetError, match="synthetic/test holds no face"):
        face_set([0]).select([])


@pytest.mark.parametrize(("labels", "sources"), [([0], ()), ([0, 1, 2], ()), ([0, 1], ["one"])])
def test_images_labels_and_sources_that_do_not_match_are_refused(
    labels: list[int], sources: list[str]
) -> None:
    with pytest.raises(
        DatasetError, match=f"2 images, {len(labels)} labels and {len(sources)} sources do not match"
    ):
        FaceSet("synthetic", "test", np.zeros((2, 4, 4), np.uint8), np.array(labels, np.int64), sources)


# -- --limit ------------------------------------------------------------------------------------------


@given(label_lists, st.integers(1, 70))
@settings(deadline=None)
def test_a_limited_set_has_the_proportions_of_the_full_set(labels: list[int], n: int) -> None:
    limited = face_set(labels).subsample(n)
    if n >= len(labels):
        assert len(limited) == len(labels)
        return
    exact = {label: labels.count(label) * n / len(labels) for label in set(labels)}
    for label, share in exact.items():
        selected = int(np.sum(limited.labels == label))
        assert 1 <= selected <= labels.count(label)
        assert math.floor(share) <= selected <= math.floor(share) + 1 if share >= 1 else selected == 1
    assert n <= len(limited) < n + len(exact)
    if min(exact.values()) >= 1:
        assert len(limited) == n


@given(label_lists, st.integers(1, 70))
@settings(deadline=None)
def test_a_limited_set_holds_the_first_faces_of_each_emotion_in_order(labels: list[int], n: int) -> None:
    limited = face_set(labels).subsample(n)
    rows = [int(source.removeprefix("row ")) for source in limited.sources]
    assert rows == sorted(rows)
    for label in set(labels):
        all_rows = [i for i, each in enumerate(labels) if each == label]
        selected = [i for i in rows if labels[i] == label]
        assert selected == all_rows[: len(selected)]
    assert [face_set(labels).hashes[i] for i in rows] == list(limited.hashes)


def test_a_limit_is_noted_and_a_limit_of_nothing_refused() -> None:
    assert face_set([0, 1] * 10).subsample(4).notes == ("limited to 4 of 20 faces, stratified by emotion",)
    assert face_set([0, 1]).subsample(2).notes == ()
    with pytest.raises(DatasetError, match="--limit must be at least 1, got 0"):
        face_set([0]).subsample(0)


# -- loading by name -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset `mine` of class folders with a train and a test split, two faces each."""
    for split in ("train", "test"):
        for i, name in enumerate(("happy", "sad")):
            (tmp_path / "mine" / split / name).mkdir(parents=True)
            Image.fromarray(synthetic_drawing.draw(split, i)).save(tmp_path / "mine" / split / name / "1.png")
    return tmp_path / "mine"


def test_importing_the_datasets_imports_nothing_heavy() -> None:
    heavy = ("torch", "pyarrow", "huggingface_hub", "timm")
    code = f"import sys, fer_models.datasets; print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(datasets.__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_without_a_split_the_default_is_used(folder: Path) -> None:
    assert datasets.default_split("synthetic") == "test"
    assert datasets.default_split("fer2013") == "public_test"
    assert datasets.load(str(folder)).name == "mine/test"


@pytest.mark.parametrize(
    ("names", "default"),
    [(["train", "val"], "validation"), (["train"], "train"), (["private_test", "train"], "private_test")],
)
def test_a_folders_only_held_out_split_is_its_default(tmp_path: Path, names: list[str], default: str) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    assert datasets.default_split(str(tmp_path)) == default


def test_a_folder_without_a_test_split_needs_the_option(tmp_path: Path) -> None:
    for name in ("public_test", "private_test"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        UsageError, match=r"has the splits private_test, public_test, and no test split. Choose with --split"
    ):
        datasets.load(str(tmp_path))


def test_a_name_with_a_root_is_the_name_of_the_dataset(folder: Path) -> None:
    assert datasets.load("ck+48", "train", folder).name == "ck+48/train"


def test_splits_are_listed_for_every_kind_of_dataset(folder: Path) -> None:
    assert datasets.splits("synthetic") == ("train", "validation", "test")
    assert datasets.splits("fer2013") == ("train", "public_test", "private_test", "test")
    assert datasets.splits(str(folder)) == datasets.splits("any name", folder) == ("test", "train")


def test_fer2013_without_a_root_is_refused_with_both_options() -> None:
    with pytest.raises(UsageError, match="--data-root FOLDER, or fetch it with --download"):
        datasets.load("fer2013")


def test_fer2013_is_downloaded_only_with_the_option_and_without_a_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[str] = []
    read: list[tuple[str, Path]] = []

    def fetch(repo: str) -> Path:
        fetched.append(repo)
        return tmp_path / "cache"

    monkeypatch.setattr(hub, "download", fetch)
    monkeypatch.setattr(fer2013, "load", lambda split, root: read.append((split, root)))
    datasets.load("fer2013", root=tmp_path, download=True)
    datasets.load("fer2013", "train", tmp_path)
    assert fetched == []
    datasets.load("fer2013", "private_test", download=True)
    assert fetched == [hub.FER2013_REPO]
    assert read == [("public_test", tmp_path), ("train", tmp_path), ("private_test", tmp_path / "cache")]


def test_a_misspelt_split_is_refused_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "download", lambda repo: pytest.fail("downloaded"))
    with pytest.raises(UnknownNameError, match="Did you mean 'private_test'"):
        datasets.load("fer2013", "private_tset", download=True)


def test_a_root_for_the_synthetic_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need no --data-root"):
        datasets.load("synthetic", root=tmp_path)


def test_a_misspelt_dataset_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"No dataset or folder named 'fer213'. Did you mean 'fer2013'\? Known: fer2013, synthetic",
    ):
        datasets.load("fer213")


def test_two_folders_for_one_dataset_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="both name a folder"):
        datasets.load(str(folder), root=folder)
