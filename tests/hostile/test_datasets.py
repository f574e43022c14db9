"""Untrusted folders and label schemes: ambiguous labels are refused, runs end with one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from guards import no_hang, outcome, unchanged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_folders import NAMES, NO_PICTURES, encoded, named, on_posix, read_all, write_images
from PIL import Image
from processes import run_python

from fer_models import cli, datasets
from fer_models.datasets import FaceSet, synthetic_drawing
from fer_models.datasets.schemes import SCHEMES
from fer_models.emotions import LABELS
from fer_models.store.subject import Subject

# -- layouts -------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[list[str], str | list[str]]] = {
    "nothing": ([], "holds no labelled image"),
    "a picture alone": (["a.png"], "holds no labelled image"),
    "a split without classes": (["train/a.png", "test/a.png"], "holds no labelled image"),
    "an unknown class": (["happy/a.png", "hapy/b.png"], "hapy is not a class folder"),
    "a class of another language": (["heureux/a.png"], "heureux is not a class folder"),
    "only contempt": (["contempt/a.png"], "holds no labelled image"),
    "only text": (["happy/a.txt"], "holds no labelled image"),
    "two folders for one split": (
        ["val/happy/a.png", "valid/happy/a.png"],
        "both claim to be the validation split",
    ),
    "three held-out splits": (
        ["train/sad/a.png", "val/sad/a.png", "public_test/sad/a.png"],
        "no test split. Choose with --split",
    ),
    "numbers": (["0/a.png", "1/a.png"], "Select their scheme: --label-scheme affectnet"),
    "a name and a number": (["happy/a.png", "3/a.png"], "3 is not a class folder"),
    "superscript digits": (["\u00b2/a.png"], "is not a class folder"),
    "arabic digits": (["\u0663/a.png"], "is not a class folder"),
    "a negative number": (["-1/a.png"], "-1 is not a class folder"),
    "a fraction": (["1.5/a.png"], "1.5 is not a class folder"),
    "a number of twenty digits": (["1" * 20 + "/a.png"], "is not a class folder"),
    "one class": (["happy/a.png"], ["happy/a.png"]),
    "mixed case": (["HAPPY/a.PNG", "Sad/b.JpG"], ["HAPPY/a.PNG", "Sad/b.JpG"]),
    "two spellings": (["happy/a.png", "happiness/b.png"], ["happiness/b.png", "happy/b.png"]),
    "nested": (["happy/x/y/z/a.png"], ["happy/x/y/z/a.png"]),
    "hidden": (["happy/a.png", "happy/.b.png", ".git/c.png", "__MACOSX/d.png"], ["happy/a.png"]),
    "an empty class": (["happy/a.png", "sad/.keep"], ["happy/a.png"]),
    "a split without a class": (["test/happy/a.png", "train/sad/b.png"], ["test/happy/a.png"]),
    "spaces around": ([" happy /a.png"], [" happy /a.png"]),
    "indexed names": (["0_angry/a.png", "3. happy/b.png"], ["0_angry/a.png", "3. happy/b.png"]),
    "other files": (["happy/a.png", "happy/b.db", "notes.txt"], ["happy/a.png"]),
    "empty annotations": (["annotations/.keep", "images/a.png"], "holds no labelled image"),
    "images without annotations": (["images/a.png"], "images is not a class folder"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_as_expected_or_refused(tmp_path: Path, layout: str) -> None:
    names, expected = LAYOUTS[layout]
    write_images(tmp_path, *names)
    result = read_all(tmp_path)
    if isinstance(expected, str):
        assert isinstance(result, str), result
        assert expected in result
    else:
        assert isinstance(result, FaceSet), result
        assert len(result) == len(expected)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 5000,
        "~nobody-of-this-name/x",
        "a\0b",
        "/dev/zero",
        "synthetic/",
        "\udcff",
        "http://example.org/set",
    ],
    ids=ascii,
)
def test_a_dataset_that_is_no_folder_is_refused(name: str) -> None:
    for load in (
        lambda: datasets.load(name),
        lambda: datasets.load("x", root=Path(name or "gone")),
        lambda: datasets.load("fer2013", root=Path(name or "gone")),
    ):
        assert isinstance(outcome(load), str)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12, unique=True), st.sampled_from([None, *SCHEMES]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_have_the_meaning_of_the_named_scheme_or_none(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], scheme: str | None
) -> None:
    root = write_images(tmp_path_factory.mktemp("numbers"), *(f"{n}/a.png" for n in numbers))
    result = read_all(root, scheme)
    classes = SCHEMES[scheme].classes if scheme else {}
    if not set(numbers) <= set(classes) or not any(classes[n] in LABELS for n in numbers):
        assert isinstance(result, str)
    else:
        assert isinstance(result, FaceSet), result
        assert {
            source: LABELS[label] for source, label in zip(result.sources, result.labels, strict=True)
        } == {f"{n}/a.png": classes[n] for n in numbers if classes[n] in LABELS}


# -- schemes -------------------------------------------------------------------------------------------

NO_SCHEMES: dict[str, bytes] = {
    "empty": b"",
    "no json": b"happy",
    "cut": b'{"0": "happy"',
    "no utf-8": b'{"0": "\xff"}',
    "a list": b'["happy"]',
    "a number": b"3",
    "null": b"null",
    "an empty object": b"{}",
    "nothing but null": b'{"0": null}',
    "nothing but contempt": b'{"0": "contempt"}',
    "an unknown emotion": b'{"0": "hapy"}',
    "an emotion twice": b'{"0": "happy", "1": "joy"}',
    "a number twice": b'{"0": "happy", "0": "sad"}',
    "a number with zeros": b'{"00": "happy"}',
    "a negative number": b'{"-1": "happy"}',
    "a fraction": b'{"1.0": "happy"}',
    "a name as a number": b'{"happy": "0"}',
    "a number as a name": b'{"0": 3}',
    "true": b'{"0": true}',
    "NaN": b'{"0": NaN}',
    "a list as a name": b'{"0": ["happy"]}',
    "deep": b"[" * 20_000,
    "a large number": b'{"0": ' + b"9" * 5000 + b"}",
    "an empty name": b'{"0": ""}',
    "too large": b" " * 70_000 + b'{"0": "happy"}',
}


@pytest.mark.parametrize("kind", NO_SCHEMES)
def test_an_invalid_scheme_file_is_refused(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path / "set", "0/a.png")
    (tmp_path / "scheme.json").write_bytes(NO_SCHEMES[kind])
    message = read_all(tmp_path / "set", str(tmp_path / "scheme.json"))
    assert isinstance(message, str)
    assert "scheme.json" in message


def test_a_scheme_file_gives_numbers_their_meaning(tmp_path: Path) -> None:
    write_images(tmp_path / "set", "0/a.png", "7/b.png", "8/c.png", "9/d.png")
    (tmp_path / "scheme.json").write_text('{"0": "joy", "7": "contempt", "8": null, "9": "Sadness"}')
    faces = read_all(tmp_path / "set", str(tmp_path / "scheme.json"))
    assert isinstance(faces, FaceSet), faces
    assert dict(zip(faces.sources, [LABELS[i] for i in faces.labels], strict=True)) == {
        "0/a.png": "happy",
        "9/d.png": "sad",
    }
    assert (
        faces.notes[0] == f"numbered folders read by the label scheme {tmp_path}/scheme.json: "
        "0 joy, 7 contempt (dropped), 8 other (dropped), 9 Sadness"
    )
    assert faces.notes[1] == "dropped 2 faces outside the seven emotions: 7 contempt 1, 8 other 1"


@pytest.mark.parametrize(
    "given_scheme",
    ["", "AffectNet8", "raf db", "/dev/zero", "/", "gone.json", "x" * 5000, "\udcff", "a\0b"],
    ids=ascii,
)
def test_an_unknown_scheme_is_refused(tmp_path: Path, given_scheme: str) -> None:
    write_images(tmp_path, "1/a.png")
    assert isinstance(read_all(tmp_path, given_scheme), str)


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_a_scheme_for_a_dataset_of_known_labels_is_refused(tmp_path: Path, name: str) -> None:
    message = outcome(lambda: datasets.load(name, root=tmp_path, label_scheme="raf-db"))
    assert f"the labels of {name} are known. Leave it out" in message


@pytest.mark.parametrize(
    "command",
    [
        "data",
        "data audit",
        "train vgg19",
        "probe clip-nano --output fits",
        "fuse vgg19 resnet50",
        "study protocols",
    ],
)
def test_every_command_that_takes_a_dataset_takes_its_scheme(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(
        tmp_path, *(f"{split}/{n}/a.png" for split in ("train", "validation", "test") for n in range(8))
    )
    with no_hang():  # 0 is no class of RAF-DB
        assert cli.main([*command.split(), "--dataset", str(tmp_path), "--label-scheme", "raf-db"]) == 4
    assert "0 is not a class folder: the label scheme raf-db has no class 0" in capsys.readouterr().err


# -- complete runs -------------------------------------------------------------------------------

SEVERAL = """
import sys, pytest
sys.stderr = sys.stdout
for command in {commands!r}:
    print("=-=-=", flush=True)
    print("code", int(pytest.main([*command, "-W", "ignore::pytest.PytestAssertRewriteWarning"])), flush=True)
"""


def evals(repository: Path, folder: Path, *commands: list[str]) -> list[str]:
    """The output of `pytest evals` for each of `commands`, in one process, with the exit code at its end."""
    common = ["evals", "-p", "no:cacheprovider", "--model", "vgg19", "--work-dir", str(folder)]
    (folder / "runs.py").write_text(SEVERAL.format(commands=[[*common, *command] for command in commands]))
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {
        "FER_MODELS_WEIGHTS": os.devnull
    }
    done = run_python([str(folder / "runs.py")], repository, alone, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("=-=-=")[1:]


@on_posix
def test_a_run_on_unreadable_pictures_ends_in_one_sentence_and_leaves_a_report(
    tmp_path: Path, repository: Path
) -> None:
    root = write_images(tmp_path / "set", *(f"{label}/{i}.png" for label in LABELS for i in range(2)))
    for i, (kind, data) in enumerate(NO_PICTURES.items()):
        write_images(root, f"happy/{i:02}-{kind.split(':')[0].replace(' ', '-')}.png", data=data)
    named(root, "happy", NAMES["html"], b"")
    named(root, "happy", NAMES["no utf-8"], b"")
    (root / "happy" / "device.png").symlink_to("/dev/zero")
    message = evals(repository, tmp_path, ["--dataset", str(root)], ["--dataset", str(root), "-n", "2"])
    n = len(NO_PICTURES) + 3
    for printed in message:
        assert printed.rstrip().endswith("code 4")
        assert "Traceback" not in printed
        assert "INTERNALERROR" not in printed
        assert printed.count("cannot be read: ") == 1
        assert f"set/all: {n} of {n + 14} pictures cannot be read: happy/00-empty.png, " in printed
        assert f"… and {n - 10} more" in printed
        assert f"fer-models data audit --dataset {root}" in printed
    report = json.loads((tmp_path / "reports" / "evals.json").read_text())
    assert [error["message"] for error in report["errors"]] == [
        message[0].split("ERROR: ")[1].splitlines()[0]
    ]
    assert report["results"] == []
    assert f"{n} of {n + 14} pictures cannot be read" in (tmp_path / "reports" / "evals.html").read_text()


@on_posix
def test_names_of_sound_pictures_are_escaped_on_the_page(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "set"
    for i in range(14):
        write_images(
            root,
            f"test/{LABELS[i % 7]}/{i}.png",
            data=encoded("PNG", Image.fromarray(synthetic_drawing.draw("test", i))),
        )
    # the report shows duplicates with the names of both
    copy = encoded("PNG", Image.fromarray(synthetic_drawing.draw("test", 3)))
    named(root, "train/happy", b"<script>alert(1)<\xff\n\xe2\x80\xaex", copy)
    named(root, "test/happy", b"<script>alert(2)<\xfe", encoded("PNG", Image.new("L", (3, 3), 9)))
    (message,) = evals(repository, tmp_path, ["--dataset", str(root), "-k", "test_data"])
    assert message.rstrip().endswith("code 1")  # one face is too small
    assert "INTERNALERROR" not in message
    page = (tmp_path / "reports" / "evals.html").read_bytes()
    assert b"&lt;script&gt;alert(1)&lt;\\udcff\\n\\u202ex.png" in page
    assert b"<script>alert(" not in page
    page.decode("utf-8")
    report = json.loads((tmp_path / "reports" / "evals.json").read_text())
    json.dumps(report, ensure_ascii=False).encode()
    audited = report["data"]["set/test"]["audit"]
    assert audited["splits"][1]["tiny"] == ["test/happy/<script>alert(2)<\\udcfe.png"]


def test_a_dataset_of_any_name_has_a_folder_in_the_store() -> None:
    folder = Subject("x" * 255, "all", "raw", "vgg19").folder("0" * 64)
    assert len(folder) < 150
    assert folder.endswith("x-all-raw-vgg19-0000000000000000")


@on_posix
def test_the_audit_of_unreadable_pictures_lists_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, "sad/good.png")
    for i, data in enumerate(NO_PICTURES.values()):
        write_images(tmp_path, f"happy/{i:02}.png", data=data)
    named(tmp_path, "happy", NAMES["no utf-8"], b"")
    with no_hang(), unchanged(tmp_path):
        assert cli.main(["data", "audit", "--dataset", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert cli.main(["data", "audit", "--dataset", str(tmp_path), "--format", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)["splits"][0]["unreadable"]
    assert len(listed) == len(NO_PICTURES) + 1
    assert printed.count("all: unreadable: ") == 10
    assert f"and {len(listed) - 10} more that cannot be read" in printed
