"""Class folders in any accepted spelling, KDEF and JAFFE by file name; ambiguous labels are refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models import images
from fer_models.datasets import FaceSet, folders, synthetic_drawing
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, ImageError, UnknownNameError, UnreadableFacesError

FACE = synthetic_drawing.draw("test", 0)


def write_faces(root: Path, *names: str) -> Path:
    """Write a synthetic face at each of the paths under `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(FACE).save(root / name)
    return root


def labels_of(faces: FaceSet) -> dict[str, str]:
    """The emotion of each source."""
    return dict(zip(faces.sources, [LABELS[i] for i in faces.labels], strict=True))


# -- layouts ------------------------------------------------------------------------------------------


def test_folders_named_after_emotions_label_their_faces_by_name_not_by_position(tmp_path: Path) -> None:
    write_faces(tmp_path, *(f"{name}/a.png" for name in sorted(LABELS)))
    faces = folders.load("all", tmp_path)
    assert labels_of(faces) == {f"{name}/a.png": name for name in LABELS}
    assert faces.notes == ()


@given(
    st.lists(
        st.sampled_from(["anger", "Fear", "HAPPINESS", "3_sad", "Surprised", "disgust", "neutral"]),
        min_size=1,
        unique=True,
    ),
    st.integers(1, 3),
)
@settings(max_examples=10, deadline=None)
def test_every_spelling_counts_its_faces_and_absent_emotions_are_noted(
    tmp_path_factory: pytest.TempPathFactory, spellings: list[str], n: int
) -> None:
    root = tmp_path_factory.mktemp("spelt")
    write_faces(root, *(f"{name}/{i}.png" for name in spellings for i in range(n)))
    faces = folders.load("all", root)
    assert sorted(faces.counts.values()) == [0] * (7 - len(spellings)) + [n] * len(spellings)
    absent = [name for name, count in faces.counts.items() if not count]
    assert faces.notes == ((f"no face of: {', '.join(absent)}",) if absent else ())


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("valid", "validation"),
        ("Validation", "validation"),
        ("val", "validation"),
        ("Training", "train"),
        ("test", "test"),
    ],
)
def test_a_split_has_its_usual_names_and_is_selected_by_any_of_them(
    tmp_path: Path, folder: str, split: str
) -> None:
    write_faces(tmp_path, f"{folder}/happy/a.png", f"{folder}/sad/b.png")
    assert folders.splits(tmp_path) == (split,)
    for spelling in (split, folder.lower()):
        faces = folders.load(spelling, tmp_path)
        assert faces.split == split
        assert labels_of(faces) == {f"{folder}/happy/a.png": "happy", f"{folder}/sad/b.png": "sad"}


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    write_faces(tmp_path, "train/happy/a.png", "test/happy/a.png")
    with pytest.raises(UnknownNameError, match=r"No split of mine named 'all'.* Known: test, train"):
        folders.load("all", tmp_path, "mine")


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    write_faces(tmp_path, "val/happy/a.png", "valid/happy/a.png")
    with pytest.raises(DatasetError, match="both claim to be the validation split"):
        folders.load("validation", tmp_path)


def test_folders_that_are_no_split_are_noted(tmp_path: Path) -> None:
    write_faces(tmp_path, "train/happy/a.png", "extra/sad/b.png", ".git/c.png")
    faces = folders.load("train", tmp_path)
    assert faces.sources == ["train/happy/a.png"]
    assert faces.notes[-1] == "ignored the folders that are no split: extra"


def test_the_name_of_the_dataset_is_that_of_its_folder_or_the_option(tmp_path: Path) -> None:
    write_faces(tmp_path / "CK+48", "happy/a.png")
    assert folders.load("all", tmp_path / "CK+48").name == "CK+48/all"
    assert folders.load("all", tmp_path / "CK+48", "ck").name == "ck/all"


def test_faces_come_in_the_order_of_their_paths_however_deep(tmp_path: Path) -> None:
    write_faces(tmp_path, "sad/b.png", "happy/S005/2.png", "happy/S005/1.png", "happy/a.png")
    assert folders.load("all", tmp_path).sources == [
        "happy/S005/1.png",
        "happy/S005/2.png",
        "happy/a.png",
        "sad/b.png",
    ]


def test_ck48_drops_contempt_with_a_count_and_notes_that_neutral_is_absent(tmp_path: Path) -> None:
    write_faces(
        tmp_path,
        *(f"{name}/a.png" for name in ("anger", "disgust", "fear", "happy", "sadness", "surprise")),
        "contempt/a.png",
        "contempt/b.png",
    )
    faces = folders.load("all", tmp_path)
    assert len(faces) == 6
    assert faces.notes == ("dropped 2 faces outside the seven emotions: contempt 2", "no face of: neutral")


# -- numbered folders ---------------------------------------------------------------------------------


#: The meaning of class numbers in each scheme, for the seven emotions.
MEANINGS = {
    "affectnet": {0: "neutral", 1: "happy", 2: "sad", 3: "surprise", 4: "fear", 5: "disgust", 6: "angry"},
    "ck+": {0: "neutral", 1: "angry", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"},
    "fer2013": {0: "angry", 1: "disgust", 2: "fear", 3: "happy", 4: "sad", 5: "surprise", 6: "neutral"},
    "ferplus": {0: "neutral", 1: "happy", 2: "surprise", 3: "sad", 4: "angry", 5: "disgust", 6: "fear"},
    "raf-db": {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"},
}


@pytest.mark.parametrize("scheme", MEANINGS)
def test_numbered_folders_have_the_meaning_of_the_scheme(tmp_path: Path, scheme: str) -> None:
    numbers = SCHEMES[scheme].classes
    write_faces(tmp_path, *(f"test/{i}/a.png" for i in numbers))
    faces = folders.load("test", tmp_path, scheme=SCHEMES[scheme])
    assert labels_of(faces) == {
        f"test/{i}/a.png": name
        for i, name in sorted(MEANINGS[scheme].items(), key=lambda item: f"{item[0]}/")
    }
    assert faces.notes[0].startswith(f"numbered folders read by the label scheme {scheme}: ")
    outside = len(numbers) - 7
    assert sum("dropped" in note for note in faces.notes[1:]) == bool(outside)
    if outside:
        assert faces.notes[1].startswith(f"dropped {outside} faces outside the seven emotions: ")


def test_dropped_classes_are_counted_by_number_and_name(tmp_path: Path) -> None:
    write_faces(tmp_path, "2/a.png", "2/b.png", "5/a.png")
    assert (
        "dropped 2 faces outside the seven emotions: 2 contempt 2"
        in folders.load("all", tmp_path, scheme=SCHEMES["ck+"]).notes
    )


def test_a_split_without_some_numbers_is_read_like_the_others(tmp_path: Path) -> None:
    write_faces(tmp_path, *(f"train/{i}/a.png" for i in range(1, 8)), "test/2/a.png")
    assert labels_of(folders.load("test", tmp_path, scheme=SCHEMES["raf-db"])) == {"test/2/a.png": "fear"}


@pytest.mark.parametrize(
    "numbers",
    [range(7), range(8), range(1, 8), range(11), (1, 2, 3), (0, 1), range(1, 9), range(12)],
    ids=str,
)
@pytest.mark.parametrize("name", ["mine", "AffectNet", "raf-db", "draft"])
def test_numbers_are_never_guessed(tmp_path: Path, numbers: range, name: str) -> None:
    write_faces(tmp_path, *(f"{i}/a.png" for i in numbers))
    with pytest.raises(
        DatasetError,
        match=r"which datasets use in different orders\. Select their scheme: .*--label-scheme FILE",
    ) as caught:
        folders.load("all", tmp_path, name)
    for scheme in SCHEMES.values():
        assert (f"--label-scheme {scheme.name} (" in str(caught.value)) == (
            set(numbers) <= set(scheme.classes)
        )


@pytest.mark.parametrize(
    ("scheme", "number"),
    [("raf-db", 0), ("raf-db", 8), ("ck+", 8), ("fer2013", 7), ("ferplus", 10), ("affectnet", 11)],
)
def test_a_number_outside_the_scheme_is_no_class(tmp_path: Path, scheme: str, number: int) -> None:
    write_faces(tmp_path, "1/a.png", f"{number}/a.png")
    with pytest.raises(
        DatasetError,
        match=rf"{number} is not a class folder: the label scheme {re.escape(scheme)} has no class {number}",
    ):
        folders.load("all", tmp_path, scheme=SCHEMES[scheme])


@pytest.mark.parametrize(
    "names", [("happy/a.png", "sad/a.png"), ("happy/a.png", "3/a.png")], ids=["names", "a name and a number"]
)
def test_a_scheme_for_folders_with_names_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_faces(tmp_path, *names)
    with pytest.raises(
        DatasetError, match=r"--label-scheme raf-db is for numbered class folders, and .*happy is none"
    ):
        folders.load("all", tmp_path, scheme=SCHEMES["raf-db"])


def test_a_number_among_names_is_no_class(tmp_path: Path) -> None:
    write_faces(tmp_path, "happy/a.png", "3/a.png")
    with pytest.raises(DatasetError, match="3 is not a class folder: '3' is not the name of an emotion"):
        folders.load("all", tmp_path)


# -- KDEF and JAFFE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "AF01/", "afraid/"], ids=["flat", "by person", "by emotion"])
def test_kdef_is_labelled_by_file_name_and_its_angles_are_counted(tmp_path: Path, where: str) -> None:
    codes = ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
    names = ("fear", "angry", "disgust", "happy", "neutral", "sad", "surprise")
    emotions = dict(zip(codes, names, strict=True))
    write_faces(
        tmp_path,
        *(f"{where}AF01{code}S.JPG" for code in emotions),
        f"{where}BM35HAFL.jpg",
        f"{where}AM31HAHR.JPG",
    )
    faces = folders.load("all", tmp_path)
    assert labels_of(faces) == {
        **{f"{where}AF01{code}S.JPG": name for code, name in emotions.items()},
        **dict.fromkeys((f"{where}BM35HAFL.jpg", f"{where}AM31HAHR.JPG"), "happy"),
    }
    angles = "7 straight, 0 half left, 1 half right, 1 full left, 0 full right"
    assert faces.notes == (f"labels from KDEF's file names; all angles: {angles}",)


def test_jaffe_is_labelled_by_file_name(tmp_path: Path) -> None:
    write_faces(tmp_path, "KA.AN1.39.tiff", "KA.FE2.46.tiff", "YM.NE3.51.tiff")
    (tmp_path / "README_FIRST.txt").touch()
    faces = folders.load("all", tmp_path)
    assert list(labels_of(faces).values()) == ["angry", "fear", "neutral"]
    assert faces.notes == (
        "labels from JAFFE's file names",
        "no face of: disgust, happy, sad, surprise",
        "ignored 1 files that are no images or belong to no class (such as README_FIRST.txt)",
    )


def test_a_misnamed_file_among_kdefs_is_counted_not_guessed(tmp_path: Path) -> None:
    write_faces(tmp_path, "AF01ANS.JPG", "AF01HAS.JPG", "AM31H.JPG")
    faces = folders.load("all", tmp_path)
    assert len(faces) == 2
    assert faces.notes[-1] == "ignored 1 files that are no images or belong to no class (such as AM31H.JPG)"


# -- files --------------------------------------------------------------------------------------------


def test_faces_are_decoded_on_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path, "happy/a.png", "sad/b.png")
    read: list[str] = []
    decode = images.read

    def record(path: Path) -> images.Face:
        read.append(path.name)
        return decode(path)

    monkeypatch.setattr(images, "read", record)
    faces = folders.load("all", tmp_path)
    assert read == []
    assert np.array_equal(faces.face(1), images.to_rgb(FACE))
    assert read == ["b.png"]


def test_an_unreadable_image_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_faces(tmp_path, "happy/a.png")
    (tmp_path / "happy" / "b.jpg").write_bytes(b"not a picture")
    faces = folders.load("all", tmp_path)
    message = r"1 of 2 pictures cannot be read: happy/b\.jpg\. The first: .*b\.jpg cannot be read as an image"
    with pytest.raises(UnreadableFacesError, match=message):
        faces.hashes  # noqa: B018 - reading it decodes every face


def test_a_broken_link_is_an_unreadable_face_and_is_not_skipped(tmp_path: Path) -> None:
    write_faces(tmp_path, "happy/a.png")
    (tmp_path / "happy" / "b.png").symlink_to(tmp_path / "gone.png")
    faces = folders.load("all", tmp_path)
    with pytest.raises(ImageError, match=r"b\.png cannot be opened"):
        faces.face(1)


def test_linked_folders_are_followed_but_loops_are_not(tmp_path: Path) -> None:
    write_faces(tmp_path / "elsewhere", "a.png")
    write_faces(tmp_path / "set", "sad/b.png")
    (tmp_path / "set" / "happy").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set" / "sad" / "loop").symlink_to(tmp_path / "set" / "sad", target_is_directory=True)
    assert folders.load("all", tmp_path / "set").sources == ["happy/a.png", "sad/b.png"]


def test_hidden_files_are_ignored_and_other_files_counted(tmp_path: Path) -> None:
    write_faces(
        tmp_path, "happy/a.png", "happy/._a.png", ".cache/b.png", "__MACOSX/happy/a.png", "montage.png"
    )
    (tmp_path / "happy" / "Thumbs.db").write_bytes(b"x")
    faces = folders.load("all", tmp_path)
    assert faces.sources == ["happy/a.png"]
    assert faces.notes[-1] == "ignored 2 files that are no images or belong to no class (such as Thumbs.db)"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["happy/a.png", "hapy/b.png"],
            "hapy is not a class folder: 'hapy' is not the name of an emotion.*Rename it to an emotion",
        ),
        ([], "holds no labelled image. Looked for CLASS/.*--dataset fer2013"),
        (["contempt/a.png"], "holds no labelled image"),
        (["a.png"], "holds no labelled image"),
    ],
    ids=["unknown class", "empty", "only contempt", "no class"],
)
def test_a_folder_without_faces_of_the_seven_emotions_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    write_faces(tmp_path, *names)
    with pytest.raises(DatasetError, match=message) as caught:
        folders.load("all", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path / "gone", write_faces(tmp_path, "a.png") / "a.png"):
        with pytest.raises(DatasetError, match="is not a folder"):
            folders.load("all", root)


def test_folders_deeper_than_a_recursion_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir("a")
        os.chdir("a")
    Path("face.png").touch()
    try:
        assert [path.name for path in folders.list_files(tmp_path)] == ["face.png"]
    finally:  # pytest could not remove them
        Path("face.png").unlink()
        while Path.cwd() != tmp_path:
            os.chdir("..")
            os.rmdir("a")
