"""Examples, JSON and command line of the audit."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from audit_sets import FACES, brighter, face_set, one, shifted
from PIL import Image

from fer_models import cli
from fer_models.datasets.audit import audit
from fer_models.datasets.audit_results import MAX_EXAMPLES, Audit
from fer_models.emotions import LABELS

# -- examples and output ------------------------------------------------------------------------------


def planted() -> Audit:
    """An audit with a conflict, an exact duplicate and a near duplicate across two splits."""
    return audit(
        [one("train", 0, 1, 2, 3), face_set("test", [FACES[1], FACES[0], brighter(FACES[2])], [1, 6, 2])]
    )


def test_examples_are_conflicts_then_copies_then_near_ones_with_both_faces_named() -> None:
    conflict, copy, near = planted().examples
    assert [(face.split, face.source, face.label) for face in conflict.faces] == [
        ("train", "train 0", "angry"),
        ("test", "test 1", "neutral"),
    ]
    assert [(face.split, face.source, face.label) for face in copy.faces] == [
        ("train", "train 1", "disgust"),
        ("test", "test 0", "disgust"),
    ]
    assert [face.source for face in near.faces] == ["train 2", "test 2"]
    assert [example.kind for example in (conflict, copy, near)] == ["conflict", "copy", "near"]
    assert conflict.correlation == copy.correlation == 1.0
    assert 0.99 < near.correlation < 1


def test_an_example_of_a_conflict_shows_the_copy_with_the_other_label() -> None:
    result = audit([one("train", 0, 0, labels=[3, 4]), one("test", 0, labels=[3])], near=False)
    assert [(example.kind, example.faces[0].label) for example in result.examples] == [("conflict", "sad")]


def test_a_picture_shows_both_faces_side_by_side_at_twice_their_size() -> None:
    kind, data = planted().examples[0].picture.split(",")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert kind == "data:image/png;base64"
    assert np.array_equal(picture[::2, ::2, 0], np.concatenate([FACES[0], FACES[0]], axis=1))
    assert picture.shape == (96, 192, 3)


def test_the_kinds_share_the_examples_and_unused_places_go_to_the_others() -> None:
    everything = [*range(28)]
    copies = audit([one("train", *everything), one("test", *everything)], near=False)
    assert [example.kind for example in copies.examples] == ["copy"] * MAX_EXAMPLES
    mixed = audit(
        [
            one("train", *everything),
            one("test", *everything, labels=[(i + (i < 14)) % 7 for i in everything]),
        ],
        near=False,
    )
    assert Counter(example.kind for example in mixed.examples) == {
        "conflict": MAX_EXAMPLES - MAX_EXAMPLES // 3,
        "copy": MAX_EXAMPLES // 3,
    }


def test_near_examples_start_with_the_least_alike_and_show_each_image_once() -> None:
    changes = [brighter(FACES[0]), brighter(brighter(FACES[0])), shifted(FACES[3])]
    result = audit([one("train", *range(28)), face_set("test", changes, [0, 0, 3])])
    near = [example for example in result.examples if example.kind == "near"]
    assert [example.faces[0].source for example in near] == ["train 3", "train 0"]
    assert near[0].correlation < near[1].correlation


def test_the_json_is_complete_and_may_leave_out_the_pictures() -> None:
    result = planted()
    plain = result.as_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["overlaps"] == [
        {
            "earlier": "train",
            "later": "test",
            "exact_duplicates": 2,
            "conflicts": 1,
            "near_duplicates": {"faces": 1, "only": 1, "pairs": 1},
        }
    ]
    assert plain["examples"][0]["picture"].startswith("data:image/png")
    assert all("picture" not in example for example in result.as_json(pictures=False)["examples"])


def test_progress_is_reported_for_every_split_and_never_exceeds_its_total() -> None:
    calls: list[tuple[str, int, int]] = []
    audit([one("train", *range(28)), one("test", 0)], progress=lambda *call: calls.append(call))
    assert {"reading train", "reading test", "comparing hashes"} <= {stage for stage, _, _ in calls}
    assert all(0 <= done <= total for _, done, total in calls)


# -- the command --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders with a train and a test split that share a face."""
    for split, numbers in {"train": [3, 4], "test": [3, 5]}.items():
        for i in numbers:
            (tmp_path / "mine" / split / LABELS[i]).mkdir(parents=True)
            Image.fromarray(FACES[i]).save(tmp_path / "mine" / split / LABELS[i] / f"{i}.png")
    return tmp_path / "mine"


def test_the_command_prints_aligned_tables_of_all_splits(capsys, folder: Path) -> None:
    assert cli.main(["data", "audit", "--dataset", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine: 4 faces, 3 distinct images"
    copies = next(line for line in lines if line.startswith("test in train"))
    assert copies.split() == ["test", "in", "train", "2", "1", "50.0%", "0", "0", "0"]
    heads = next(line for line in lines if line.startswith("in two splits"))
    assert len(heads) == len(copies)


def test_the_command_prints_json_of_the_selected_splits_without_pictures(capsys, folder: Path) -> None:
    splits = ["--split", "test", "--split", "train", "--split", "test"]
    assert (
        cli.main(["data", "audit", "--dataset", str(folder), *splits, "--no-near", "--format", "json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert [split["split"] for split in report["splits"]] == ["train", "test"]
    assert report["overlaps"] == [
        {"earlier": "train", "later": "test", "exact_duplicates": 1, "conflicts": 0, "near_duplicates": None}
    ]
    assert [sorted(example) for example in report["examples"]] == [["correlation", "faces", "kind"]]


def test_options_mean_the_same_before_and_after_the_word_audit(capsys, folder: Path) -> None:
    options = ["--dataset", "mine", "--data-root", str(folder), "--split", "test", "--format", "json"]
    assert cli.main(["data", "audit", *options]) == 0
    after = capsys.readouterr().out
    assert cli.main(["data", *options, "audit"]) == 0
    assert capsys.readouterr().out == after


def test_the_data_command_without_audit_prints_its_own_json(capsys, folder: Path) -> None:
    assert cli.main(["data", "--dataset", str(folder), "--split", "test", "--format", "json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["mine/test"]


def test_an_audit_with_a_sheet_is_refused(capsys, folder: Path) -> None:
    assert cli.main(["data", "--dataset", str(folder), "--sheet", "a.png", "audit"]) == 4
    assert "--sheet a.png belongs to `fer-models data`" in capsys.readouterr().err


@pytest.fixture
def tiny_fer2013(tmp_path: Path) -> Path:
    """FER-2013's csv file with one face per split, all the same."""
    pixels = " ".join(map(str, FACES[0].ravel()))
    rows = [f"0,{pixels},{usage}" for usage in ("Training", "PublicTest", "PrivateTest")]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    return tmp_path


def test_fer2013_is_audited_in_its_three_official_splits(capsys, tiny_fer2013: Path) -> None:
    common = ["data", "audit", "--dataset", "fer2013", "--data-root", str(tiny_fer2013), "--format", "json"]
    assert cli.main(common) == 0
    report = json.loads(capsys.readouterr().out)
    assert [split["split"] for split in report["splits"]] == ["train", "public_test", "private_test"]
    assert (report["n"], report["distinct"]) == (3, 1)
    assert cli.main([*common, "--split", "train", "--split", "test"]) == 0
    assert json.loads(capsys.readouterr().out)["overlaps"][0]["exact_duplicates"] == 2


def test_fer2013s_test_split_is_not_compared_with_its_halves(capsys, tiny_fer2013: Path) -> None:
    common = ["data", "audit", "--dataset", "fer2013", "--data-root", str(tiny_fer2013)]
    assert cli.main([*common, "--split", "test", "--split", "private_test"]) == 4
    assert "fer2013/test is public_test and private_test together" in capsys.readouterr().err
