"""An audit counts all defects of a dataset exactly, and continues after unreadable images."""

from __future__ import annotations

import base64
import io
import json
import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fakes import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models import cli
from fer_models.datasets import FaceSet, fer2013_rows, folders
from fer_models.datasets.audit import audit
from fer_models.datasets.audit_results import MAX_EXAMPLES, Audit
from fer_models.datasets.audit_text import format_audit
from fer_models.emotions import LABELS
from fer_models.errors import UsageError

FACES = np.asarray(drawn(28).images)


def face_set(
    split: str,
    images: list[np.ndarray],
    labels: list[int],
    votes: list[list[int]] | None = None,
    dataset: str = "synthetic",
) -> FaceSet:
    sources = [f"{split} {i}" for i in range(len(images))]
    marks = None if votes is None else np.array(votes, np.int64)
    return FaceSet(dataset, split, images, np.array(labels, np.int64), sources, votes=marks)  # type: ignore[arg-type]


def one(split: str, *numbers: int, labels: list[int] | None = None) -> FaceSet:
    """Synthetic faces by number, with their labels unless others are given."""
    return face_set(split, [FACES[i] for i in numbers], labels or [i % 7 for i in numbers])


def split_of(result: Audit, name: str):
    return next(split for split in result.splits if split.split == name)


def overlap_of(result: Audit, earlier: str, later: str):
    return next(
        overlap for overlap in result.overlaps if (overlap.earlier, overlap.later) == (earlier, later)
    )


# -- copies -------------------------------------------------------------------------------------------


def test_copies_within_a_split_are_counted_as_surplus_and_as_groups() -> None:
    result = audit([one("train", 0, 1, 1, 2, 2, 2)], near=False)
    assert (result.n, result.distinct) == (6, 3)
    split = split_of(result, "train")
    assert (split.exact_duplicates, split.groups, split.conflicts) == (3, 2, 0)
    assert split.counts == dict(zip(LABELS, [1, 2, 3, 0, 0, 0, 0], strict=True))


def test_copies_with_different_labels_are_a_conflict_within_a_split() -> None:
    split = audit([one("train", 0, 0, 0, 1, 1, labels=[0, 0, 3, 1, 1])], near=False).splits[0]
    assert (split.groups, split.conflicts) == (2, 1)


def test_a_later_split_is_searched_for_faces_of_the_earlier_ones() -> None:
    result = audit(
        [one("private_test", 0, 0, 4, 5), one("train", 0, 1, 2), one("public_test", 4, 4, 1)], near=False
    )
    assert [split.split for split in result.splits] == ["train", "public_test", "private_test"]
    copies = {(o.earlier, o.later): (o.exact_duplicates, o.conflicts) for o in result.overlaps}
    assert copies == {
        ("train", "public_test"): (1, 0),
        ("train", "private_test"): (2, 0),
        ("public_test", "private_test"): (1, 0),
    }


@pytest.mark.parametrize(("labels", "conflicts"), [([3], 0), ([4], 1), ([3, 3], 0), ([3, 4], 1), ([4, 5], 1)])
def test_a_leaked_face_is_in_conflict_when_any_copy_of_it_carries_another_label(
    labels: list[int], conflicts: int
) -> None:
    result = audit([one("train", *[0] * len(labels), labels=labels), one("test", 0, labels=[3])], near=False)
    assert (result.overlaps[0].exact_duplicates, result.overlaps[0].conflicts) == (1, conflicts)


def test_a_grey_and_an_rgb_copy_are_one_image() -> None:
    rgb = np.repeat(FACES[0][..., None], 3, axis=2)
    assert audit([face_set("train", [FACES[0], rgb], [0, 0])], near=False).distinct == 1


def test_splits_are_sorted_and_unknown_ones_are_last() -> None:
    names = ["all", "test", "validation", "train"]
    result = audit([one(name, 0) for name in names], near=False)
    assert [split.split for split in result.splits] == ["train", "validation", "test", "all"]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "got: none"),
        ([one("train", 0), one("train", 1)], "got: synthetic/train, synthetic/train"),
        (
            [one("train", 0), face_set("test", [FACES[0]], [0], dataset="other")],
            "got: synthetic/train, other/test",
        ),
    ],
    ids=["none", "twice", "two datasets"],
)
def test_an_audit_of_anything_but_different_splits_of_one_dataset_is_refused(
    sets: list[FaceSet], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        audit(sets)


#: (split, image, label) of each face; few images, so that most stand several times.
rows_of_splits = st.lists(
    st.tuples(
        st.sampled_from(["train", "public_test", "private_test"]), st.integers(0, 4), st.integers(0, 2)
    ),
    min_size=1,
)


def sets_of(rows: list[tuple[str, int, int]]) -> list[FaceSet]:
    by_split = {
        split: [(image, label) for name, image, label in rows if name == split]
        for split in dict.fromkeys(name for name, *_ in rows)
    }
    return [
        face_set(split, [FACES[image] for image, _ in faces], [label for _, label in faces])
        for split, faces in by_split.items()
    ]


@given(rows_of_splits)
@settings(max_examples=60, deadline=None)
def test_exact_counts_equal_a_direct_count(rows: list[tuple[str, int, int]]) -> None:
    result = audit(sets_of(rows), near=False)
    assert result.n == len(rows)
    assert result.distinct == len({image for _, image, _ in rows})
    for split in result.splits:
        faces = [(image, label) for name, image, label in rows if name == split.split]
        times = Counter(image for image, _ in faces)
        assert split.n == len(faces)
        assert split.exact_duplicates == sum(times.values()) - len(times)
        assert split.groups == sum(n > 1 for n in times.values())
        assert split.conflicts == sum(
            len({label for other, label in faces if other == image}) > 1 for image in times
        )
        assert split.counts == {name: sum(label == i for _, label in faces) for i, name in enumerate(LABELS)}
    assert [(o.earlier, o.later) for o in result.overlaps] == list(
        combinations([split.split for split in result.splits], 2)
    )
    for overlap in result.overlaps:
        before = {(image, label) for name, image, label in rows if name == overlap.earlier}
        after = [(image, label) for name, image, label in rows if name == overlap.later]
        assert overlap.exact_duplicates == sum(
            image in {other_image for other_image, _ in before} for image, _ in after
        )
        assert overlap.conflicts == sum(
            any(other_image == image and other != label for other_image, other in before)
            for image, label in after
        )


@given(rows_of_splits, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_counts_do_not_depend_on_the_order_of_rows(
    rows: list[tuple[str, int, int]], order: random.Random
) -> None:
    def counts(result: Audit) -> dict:
        return {**result.as_json(), "examples": [example["kind"] for example in result.as_json()["examples"]]}

    shuffled = order.sample(rows, len(rows))
    assert counts(audit(sets_of(shuffled))) == counts(audit(sets_of(rows)))


# -- near copies --------------------------------------------------------------------------------------


def brighter(face: np.ndarray) -> np.ndarray:
    return np.clip(face * 1.1 + 8, 0, 255).astype(np.uint8)


def shifted(face: np.ndarray) -> np.ndarray:
    return np.roll(face, 1, axis=1)


def recompressed(face: np.ndarray) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(face).save(data, "JPEG", quality=60)
    return np.asarray(Image.open(data))


def enlarged(face: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(face).resize((131, 131)))


@pytest.mark.parametrize("change", [brighter, shifted, recompressed, enlarged])
def test_a_picture_changed_a_little_is_a_near_copy_across_splits(change) -> None:
    result = audit([one("train", *range(28)), face_set("test", [change(FACES[3]), FACES[5]], [3, 5])])
    near = overlap_of(result, "train", "test").near_duplicates
    assert (near.faces, near.only, near.pairs) == (1, 1, 1)
    assert overlap_of(result, "train", "test").exact_duplicates == 1
    assert all(split.near_duplicates.pairs == 0 for split in result.splits)


def test_copies_are_not_near_copies_and_different_faces_are_neither() -> None:
    result = audit([one("train", *range(28), 0, 1), one("test", *range(28))])
    assert [split.near_duplicates.pairs for split in result.splits] == [0, 0]
    assert result.overlaps[0].near_duplicates.pairs == 0


def test_near_copies_within_a_split_are_counted_in_faces_and_pairs() -> None:
    twice = [FACES[0], FACES[0], brighter(FACES[0]), FACES[1]]
    split = audit([face_set("train", twice, [0, 0, 0, 1])]).splits[0]
    assert (split.near_duplicates.faces, split.near_duplicates.only, split.near_duplicates.pairs) == (3, 1, 2)
    assert split.exact_duplicates == 1


def test_a_face_with_an_exact_and_a_near_copy_is_not_one_that_only_the_near_search_finds() -> None:
    bright = brighter(FACES[0])
    result = audit(
        [
            face_set("train", [FACES[0], bright], [0, 0]),
            face_set("test", [FACES[0], FACES[0], brighter(bright)], [0, 0, 0]),
        ]
    )
    overlap = overlap_of(result, "train", "test")
    near = overlap.near_duplicates
    assert overlap.exact_duplicates == 2
    assert (near.faces, near.only, near.pairs) == (3, 1, 4)


def test_near_duplicates_are_left_out_without_near() -> None:
    result = audit([one("train", 0), face_set("test", [brighter(FACES[0])], [0])], near=False)
    assert result.overlaps[0].near_duplicates is None
    assert result.splits[0].near_duplicates is None
    assert result.examples == ()


def test_constant_images_of_different_tones_are_not_near_copies() -> None:
    flat = [np.full((48, 48), tone, np.uint8) for tone in (0, 90, 200)]
    split = audit([face_set("train", [*flat, FACES[0]], [0, 1, 2, 3])]).splits[0]
    assert split.near_duplicates.pairs == 0
    assert split.constant == ("train 0", "train 1", "train 2")


# -- unusable images -----------------------------------------------------------------------------


def test_constant_and_tiny_images_are_named() -> None:
    noise = np.random.RandomState(0).randint(0, 256, (31, 40), np.uint8)
    hardly = np.full((48, 48), 100, np.uint8)
    hardly[:4] = 102
    split = audit(
        [face_set("train", [FACES[0], hardly, noise, noise[:, :31]], [0, 1, 2, 3])], near=False
    ).splits[0]
    assert split.constant == ("train 1",)
    assert split.tiny == ("train 2", "train 3")


def test_unreadable_files_are_named_and_count_nowhere_else(tmp_path: Path) -> None:
    for split, names in {
        "train": ["happy/a.png", "sad/b.png"],
        "test": ["happy/a.png", "happy/c.png"],
    }.items():
        for i, name in enumerate(names):
            (tmp_path / split / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(FACES[i]).save(tmp_path / split / name)
    (tmp_path / "train" / "happy" / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "train" / "sad" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    result = audit([folders.load(split, tmp_path) for split in ("train", "test")])
    train = split_of(result, "train")
    assert [(bad.source, bad.message.split(" (")[0]) for bad in train.unreadable] == [
        ("train/happy/broken.png", f"{tmp_path}/train/happy/broken.png cannot be read as an image"),
        ("train/sad/gone.png", f"{tmp_path}/train/sad/gone.png cannot be opened"),
    ]
    assert (result.n, train.n, train.counts["happy"], train.counts["sad"]) == (4, 2, 1, 1)
    assert result.overlaps[0].exact_duplicates == 2
    assert "train: unreadable: " in format_audit(result)


def test_a_split_of_which_nothing_can_be_read_is_still_audited(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    for i in range(12):
        (tmp_path / "happy" / f"{i}.png").touch()
    result = audit([folders.load("all", tmp_path)])
    assert (result.n, result.distinct, len(result.splits[0].unreadable)) == (0, 0, 12)
    assert "… and 2 more that cannot be read" in format_audit(result)


# -- official counts, votes, notes --------------------------------------------------------------------


def test_official_counts_are_compared_for_fer2013_and_for_nothing_else() -> None:
    result = audit(
        [
            face_set("train", [FACES[0]], [0], dataset="fer2013"),
            face_set("extra", [FACES[1]], [1], dataset="fer2013"),
        ],
        near=False,
    )
    assert result.splits[0].official == dict(zip(LABELS, fer2013_rows.OFFICIAL["train"], strict=True))
    assert [split.official_agrees for split in result.splits] == [False, None]
    assert audit([one("train", 0)], near=False).splits[0].official is None


def test_official_counts_agree_when_they_do() -> None:
    labels = np.repeat(np.arange(7), fer2013_rows.OFFICIAL["private_test"])
    images = np.broadcast_to(FACES[0], (3589, 48, 48))
    result = audit([FaceSet("fer2013", "private_test", images, labels)], near=False)
    assert result.splits[0].official_agrees is True


def test_labels_are_compared_with_the_votes() -> None:
    #          angry … neutral, contempt, unknown, no face
    votes = [
        [6, 0, 0, 4, 0, 0, 0, 0, 0, 0],  # labelled angry: the majority agrees
        [5, 0, 0, 5, 0, 0, 0, 0, 0, 0],  # labelled angry: a tie, which the first of the columns wins
        [5, 0, 0, 5, 0, 0, 0, 0, 0, 0],  # labelled happy: the same tie, lost
        [1, 0, 0, 9, 0, 0, 0, 0, 0, 0],  # labelled angry: the majority is happy
        [0, 0, 0, 2, 0, 0, 0, 8, 0, 0],  # labelled sad: contempt, and no vote for sad
        [0, 0, 0, 0, 3, 0, 0, 0, 7, 0],  # labelled sad: unknown
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # labelled neutral: no face, and no vote for neutral
    ]
    faces = face_set("train", list(FACES[:7]), [0, 0, 3, 0, 4, 4, 6], votes)
    noise = audit([faces], near=False).splits[0].noise
    assert (noise.named, noise.share, noise.named_ties_to_first) == (1, 1 / 7, 2)
    assert (noise.ties, noise.unvoted) == (2, 2)
    assert noise.outside == {"contempt": 1, "unknown": 1, "no face": 1}


def test_the_votes_of_an_unreadable_face_do_not_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "happy").mkdir(exist_ok=True)
        Image.fromarray(FACES[0]).save(tmp_path / "happy" / f"{name}.png")
    (tmp_path / "happy" / "a.png").write_bytes(b"")
    faces = folders.load("all", tmp_path)
    votes = np.zeros((2, 10), np.int64)
    votes[0, 0], votes[1, 3] = 10, 10
    with_votes = FaceSet("mine", "all", faces.images, faces.labels, faces.sources, (), votes)
    noise = audit([with_votes]).splits[0].noise
    assert (noise.named, noise.share, noise.unvoted) == (1, 1.0, 0)


def test_without_votes_there_is_no_label_noise() -> None:
    result = audit([one("train", 0)])
    assert result.splits[0].noise is None
    assert "labels and raters" not in format_audit(result)


def test_the_notes_of_a_set_are_in_its_audit() -> None:
    faces = one("train", 0, 1, 2).select([0, 1], "limited for a reason")
    result = audit([faces])
    assert result.splits[0].notes == ("limited for a reason",)
    assert "train: note: limited for a reason" in format_audit(result)


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
    assert cli.main(["data", "audit", "--dataset", str(folder), *splits, "--no-near", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [split["split"] for split in report["splits"]] == ["train", "test"]
    assert report["overlaps"] == [
        {"earlier": "train", "later": "test", "exact_duplicates": 1, "conflicts": 0, "near_duplicates": None}
    ]
    assert [sorted(example) for example in report["examples"]] == [["correlation", "faces", "kind"]]


def test_options_mean_the_same_before_and_after_the_word_audit(capsys, folder: Path) -> None:
    options = ["--dataset", "mine", "--data-root", str(folder), "--split", "test", "--json"]
    assert cli.main(["data", "audit", *options]) == 0
    after = capsys.readouterr().out
    assert cli.main(["data", *options, "audit"]) == 0
    assert capsys.readouterr().out == after


def test_the_data_command_without_audit_prints_its_own_json(capsys, folder: Path) -> None:
    assert cli.main(["data", "--dataset", str(folder), "--split", "test", "--json"]) == 0
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
    common = ["data", "audit", "--dataset", "fer2013", "--data-root", str(tiny_fer2013), "--json"]
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
