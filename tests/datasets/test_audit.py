"""An audit counts all defects of a dataset exactly, and continues after unreadable images."""

from __future__ import annotations

import io
import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from audit_sets import FACES, brighter, face_set, one, overlap_of, shifted, split_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_models.datasets import FaceSet, fer2013_rows, folders
from fer_models.datasets.audit import audit
from fer_models.datasets.audit_results import Audit
from fer_models.datasets.audit_text import format_audit
from fer_models.emotions import LABELS
from fer_models.errors import UsageError

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
