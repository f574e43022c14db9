"""Datasets in tar files, as the library WebDataset writes them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import encoded
from PIL import Image

from fer_models import datasets, images
from fer_models.datasets import FaceSet, fer2013_rows, webdataset
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.errors import DatasetError, ImageError, UnknownNameError

Files = list[tuple[str, bytes]]


def picture(shade: int) -> bytes:
    return encoded(picture=Image.new("L", (6, 4), shade))


def write_shard(path: Path, files: Files, *special: tarfile.TarInfo) -> Path:
    """Write a tar file with some files, and with members of other kinds."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in special:
            tar.addfile(member)
    return path


def sample(key: str, label: str, shade: int = 0) -> Files:
    return [(f"{key}.png", picture(shade)), (f"{key}.cls", label.encode())]


def described(faces: FaceSet) -> list[tuple[str, str, int]]:
    """Source, label and shade of each face."""
    labels = [LABELS[label] for label in faces.labels]
    shades = [int(faces.images[i][0, 0, 0]) for i in range(len(faces))]
    return list(zip(faces.sources, labels, shades, strict=True))


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# -- layouts --------------------------------------------------------------------------------------------


def test_images_and_labels_with_the_same_key_are_one_sample(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "test-000.tar",
        [
            *sample("a", "happy", 1),
            *reversed(sample("folder/b", " SAD\n", 2)),
            ("c.JPG", picture(3)),
            ("c.json", json.dumps({"label": "fear", "age": 30}).encode()),
        ],
    )
    faces = datasets.load(str(tmp_path))
    assert faces.name == f"{tmp_path.name}/test"
    assert described(faces) == [
        ("test-000.tar/a.png", "happy", 1),
        ("test-000.tar/folder/b.png", "sad", 2),
        ("test-000.tar/c.JPG", "fear", 3),
    ]


def test_the_split_of_a_shard_is_in_its_name(tmp_path: Path) -> None:
    for i, name in enumerate(("train-000", "train-001", "my-val_0001", "test-00000-of-00001")):
        write_shard(tmp_path / f"{name}.tar", sample("a", "happy", i))
    root = str(tmp_path)
    assert datasets.splits(root) == ("validation", "test", "train")
    assert datasets.default_split(root) == "test"
    assert datasets.training_splits(root) == ("train", "validation")
    assert [shade for _, _, shade in described(datasets.load(root, "train"))] == [0, 1]
    assert [shade for _, _, shade in described(datasets.load(root, "val"))] == [2]


def test_shards_without_a_split_in_their_names_are_one_split(tmp_path: Path) -> None:
    for i in range(2):
        write_shard(tmp_path / f"{i:05d}.tar", sample("a", "happy", i))
    assert datasets.splits(str(tmp_path)) == ("all",)
    assert [shade for _, _, shade in described(datasets.load(str(tmp_path)))] == [0, 1]


def test_shards_of_no_split_are_ignored_with_a_note_where_others_have_one(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", sample("a", "happy"))
    write_shard(tmp_path / "more-0.tar", sample("a", "happy"))
    faces = datasets.load(str(tmp_path))
    assert len(faces) == 1
    assert "ignored the tar files that are no split: more-0.tar" in faces.notes


def test_numbers_are_read_by_a_scheme_and_never_guessed(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", [*sample("a", "1", 1), *sample("b", "7", 2)])
    with pytest.raises(DatasetError, match=r"are numbers \(1, 7\).*--label-scheme affectnet"):
        datasets.load(str(tmp_path))
    faces = datasets.load(str(tmp_path), label_scheme="affectnet")
    assert [label for _, label, _ in described(faces)] == ["happy"]
    assert "dropped 1 faces outside the seven emotions: 7 contempt 1" in faces.notes
    assert any(SCHEMES["affectnet"].describe() in note for note in faces.notes)


def test_contempt_is_dropped_and_other_files_are_ignored_with_notes(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "test-0.tar",
        [*sample("a", "sad"), *sample("b", "contempt"), ("a.txt", b"a text"), ("._a.png", b"of a Mac")],
        member("folder", tarfile.DIRTYPE),
    )
    faces = datasets.load(str(tmp_path))
    assert len(faces) == 1
    assert "dropped 1 faces outside the seven emotions: contempt 1" in faces.notes
    assert any(note.startswith("ignored 1 files") and "a.txt" in note for note in faces.notes)


def test_a_folder_with_class_folders_is_read_as_class_folders(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", sample("a", "sad"))
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "a.png").write_bytes(picture(0))
    assert datasets.load(str(tmp_path)).sources == ["happy/a.png"]


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 255)), min_size=1, max_size=12), st.data())
@settings(max_examples=20, deadline=None)
def test_the_faces_do_not_depend_on_how_they_are_cut_into_shards(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], data: st.DataObject
) -> None:
    files = [sample(f"{i:03d}", label, shade) for i, (label, shade) in enumerate(rows)]
    cut = data.draw(st.integers(1, len(rows)))
    one, several = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("several")
    write_shard(one / "test-0.tar", list(chain(*files)))
    for start in range(0, len(rows), cut):
        write_shard(several / f"test-{start:03d}.tar", list(chain(*files[start : start + cut])))
    first, second = (datasets.load(str(root)) for root in (one, several))
    assert [row[1:] for row in described(first)] == [row[1:] for row in described(second)] == rows
    assert first.fingerprint == second.fingerprint


def test_an_image_in_a_shard_has_the_pixels_of_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data = encoded(picture=Image.fromarray(pixels))
    write_shard(tmp_path / "test-0.tar", [("a.png", data), ("a.cls", b"sad")])
    assert np.array_equal(datasets.load(str(tmp_path)).face(0), pixels)


# -- shards from strangers ------------------------------------------------------------------------------


HOSTILE: dict[str, tuple[tarfile.TarInfo, str]] = {
    "a symbolic link": (member("b.png", tarfile.SYMTYPE, "/etc/passwd"), "b.png is a link"),
    "a hard link": (member("b.png", tarfile.LNKTYPE, "a.png"), "b.png is a link"),
    "a pipe": (member("b.png", tarfile.FIFOTYPE), "b.png is a device, a pipe"),
    "a device": (member("b.png", tarfile.CHRTYPE), "b.png is a device, a pipe"),
    "an absolute name": (member("/tmp/b.png", tarfile.REGTYPE), "leads out of it: /tmp/b.png"),
    "a name that goes up": (member("x/../../b.png", tarfile.REGTYPE), "leads out of it"),
    "a folder that goes up": (member("../x", tarfile.DIRTYPE), "leads out of it"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_member_that_is_no_plain_file_in_the_shard_is_refused(tmp_path: Path, case: str) -> None:
    special, message = HOSTILE[case]
    write_shard(tmp_path / "test-0.tar", sample("a", "happy"), special)
    with pytest.raises(DatasetError, match=message):
        datasets.load(str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["test-0.tar"]  # nothing was unpacked


BROKEN: dict[str, tuple[Files, str]] = {
    "no label": ([("a.png", picture(0))], "the sample a has no label"),
    "no image": ([("a.cls", b"happy")], "the sample a has no image"),
    "two images": ([*sample("a", "happy"), ("a.jpg", picture(1))], "two images of the sample a"),
    "one image twice": ([*sample("a", "happy"), ("a.png", picture(1))], "two images of the sample a"),
    "one label twice": ([*sample("a", "happy"), ("a.cls", b"sad")], "two files a.cls"),
    "an unknown emotion": (sample("a", "hapy"), r"test-0.tar: the label of a.png is not valid: .*hapy"),
    "an empty label": (sample("a", ""), "the label of a.png is not valid"),
    "a name and a number": ([*sample("a", "happy"), *sample("b", "3")], "the label of b.png is not valid"),
    "no text": ([("a.png", picture(0)), ("a.cls", b"\xff")], "a.cls cannot be read as a label"),
    "a long label": ([("a.png", picture(0)), ("a.cls", b" " * 70_000)], "more than 65,536 bytes"),
    "no json": ([("a.png", picture(0)), ("a.json", b"{")], "a.json cannot be read as a label"),
    "json without a label": ([("a.png", picture(0)), ("a.json", b"{}")], "it has no field label"),
    "a label of json that is true": (
        [("a.png", picture(0)), ("a.json", b'{"label": true}')],
        "no field label",
    ),
    "only contempt": (sample("a", "contempt"), "hold no labelled image"),
    "nothing": ([], "hold no labelled image"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_sample_without_its_image_or_a_valid_label_is_refused(tmp_path: Path, case: str) -> None:
    files, message = BROKEN[case]
    write_shard(tmp_path / "test-0.tar", files)
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def cut_in_an_image(data: bytes) -> bytes:
    return data[: data.index(b"IDAT")]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "cannot be read as an uncompressed tar file"),
    "no tar file": (lambda data: b"x" * 2000, "cannot be read as an uncompressed tar file"),
    "compressed": (lambda data: b"\x1f\x8b" + data, "Decompress it"),
    "cut in an image": (cut_in_an_image, "is cut"),
    "cut between members": (lambda data: data[: data.index(b"b.png")], "is cut or damaged at byte"),
    "cut in a header": (lambda data: data[: data.index(b"b.png") + 100], "is cut or damaged at byte"),
    "a damaged header": (lambda data: data.replace(b"b.png", b"B.png"), "is cut or damaged at byte"),
    "two joined files": (lambda data: data + data, "has data after its end"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_shard_is_refused_and_never_read_in_part(tmp_path: Path, case: str) -> None:
    damage, message = DAMAGES[case]
    path = write_shard(tmp_path / "test-0.tar", [*sample("a", "happy"), *sample("b", "sad")])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=message):
        datasets.load(str(tmp_path))


def test_two_spellings_of_a_split_are_refused(tmp_path: Path) -> None:
    for name in ("val-0", "valid-0"):
        write_shard(tmp_path / f"{name}.tar", sample("a", "happy"))
    with pytest.raises(DatasetError, match="both claim to be the validation split"):
        datasets.splits(str(tmp_path))


def test_an_unknown_split_is_an_error_that_lists_the_splits(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", sample("a", "happy"))
    with pytest.raises(UnknownNameError, match="test"):
        datasets.load(str(tmp_path), "train")


def test_a_scheme_for_names_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", sample("a", "happy"))
    with pytest.raises(DatasetError, match="--label-scheme raf-db is for numbers, got 'happy'"):
        datasets.load(str(tmp_path), label_scheme="raf-db")


def test_a_member_larger_than_any_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "test-0.tar", sample("a", "happy"))
    monkeypatch.setattr(images, "LARGEST_FILE", 20)
    with pytest.raises(DatasetError, match=r"a.png has .* bytes; the largest file allowed has 20"):
        datasets.load(str(tmp_path))


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-0.tar", [*sample("a", "sad"), ("b.png", b"no image"), ("b.cls", b"sad")])
    faces = datasets.load(str(tmp_path))
    with pytest.raises(DatasetError, match=r"test-0.tar/b.png"):
        faces.hashes  # noqa: B018 - reading it decodes every face


def test_a_shard_that_is_cut_while_it_is_used_is_an_error(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "test-0.tar", sample("a", "sad"))
    faces = webdataset.load("test", tmp_path)
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(ImageError, match="is cut: the file changed"):
        faces.face(0)


def test_alphabetical_numbers_of_fer2013_are_not_read_as_those_of_its_csv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = dict(zip(LABELS, (2, 1, 3, 4, 2, 1, 3), strict=True))
    monkeypatch.setitem(fer2013_rows.OFFICIAL, "private_test", tuple(counts.values()))
    files = [
        file
        for number, emotion in enumerate(sorted(LABELS))
        for i in range(counts[emotion])
        for file in sample(f"{emotion}{i}", str(number))
    ]
    write_shard(tmp_path / "test-0.tar", files)
    with pytest.raises(DatasetError, match="--label-scheme fer2013-alphabetical"):
        datasets.load(str(tmp_path), label_scheme="fer2013")
    assert datasets.load(str(tmp_path), label_scheme="fer2013-alphabetical").counts == counts
