"""Labels are mapped by name, and unknown names are refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.emotions import EMOTIONS, FER2013, FOLDERS, LABELS, OUTSIDE, Emotion, LabelSpace, parse_label
from fer_models.errors import DatasetError

SYNONYMS = {
    "anger": Emotion.ANGRY,
    "disgusted": Emotion.DISGUST,
    "afraid": Emotion.FEAR,
    "fearful": Emotion.FEAR,
    "happiness": Emotion.HAPPY,
    "joy": Emotion.HAPPY,
    "sadness": Emotion.SAD,
    "surprised": Emotion.SURPRISE,
    "suprise": Emotion.SURPRISE,
    "neutrality": Emotion.NEUTRAL,
    "normal": Emotion.NEUTRAL,
}
orders = st.lists(st.sampled_from([*LABELS, None]), min_size=1, max_size=9).filter(
    lambda names: len({n for n in names if n}) == sum(map(bool, names))
)


def space(names: list[str | None]) -> LabelSpace:
    return LabelSpace.from_names("any", [name or "contempt" for name in names])


def test_the_order_is_that_of_fer2013s_csv_file() -> None:
    assert LABELS == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert [int(emotion) for emotion in EMOTIONS] == [0, 1, 2, 3, 4, 5, 6]


def test_class_folders_number_sad_surprise_and_neutral_differently_from_the_csv_file() -> None:
    assert [FER2013.index(e) for e in (Emotion.SAD, Emotion.SURPRISE, Emotion.NEUTRAL)] == [4, 5, 6]
    assert [FOLDERS.index(e) for e in (Emotion.NEUTRAL, Emotion.SAD, Emotion.SURPRISE)] == [4, 5, 6]


@pytest.mark.parametrize(("name", "emotion"), [*SYNONYMS.items(), *zip(LABELS, EMOTIONS, strict=True)])
def test_a_synonym_names_its_emotion(name: str, emotion: Emotion) -> None:
    assert parse_label(name) is emotion


@given(
    st.sampled_from(sorted(SYNONYMS)),
    st.sampled_from(["", "0_", "3. ", "07-"]),
    st.sampled_from([str.upper, str.title, str.lower]),
)
@settings(deadline=None)
def test_case_blanks_and_a_leading_index_do_not_matter(name: str, index: str, case: object) -> None:
    assert parse_label(f"  {index}{case(name)} ") is SYNONYMS[name]  # type: ignore[operator]


@pytest.mark.parametrize("name", sorted(OUTSIDE))
def test_a_known_state_outside_the_seven_is_none_not_an_error(name: str) -> None:
    assert parse_label(name) is None


@pytest.mark.parametrize("name", ["hapy", "", "7", "bored", "angry face"])
def test_an_unknown_name_is_refused_with_the_valid_ones(name: str) -> None:
    with pytest.raises(DatasetError, match=r"is not the name of an emotion\. Known: angry, disgust"):
        parse_label(name)


@given(orders)
@settings(deadline=None)
def test_index_undoes_emotion_in_any_label_space(names: list[str | None]) -> None:
    label_space = space(names)
    for i, name in enumerate(names):
        emotion = label_space.emotion(i)
        assert (None if emotion is None else emotion.label) == name
        assert emotion is None or label_space.index(emotion) == i


@given(orders)
@settings(deadline=None)
def test_a_label_space_expresses_an_emotion_or_lists_it_as_missing(names: list[str | None]) -> None:
    label_space = space(names)
    assert {e.label for e in label_space.missing} == set(LABELS) - set(names)
    for emotion in label_space.missing:
        with pytest.raises(DatasetError, match=f"has no {emotion.label}"):
            label_space.index(emotion)


def test_two_names_for_one_emotion_make_no_label_space() -> None:
    with pytest.raises(DatasetError, match="names an emotion twice: angry, angry"):
        LabelSpace.from_names("twice", ["angry", "anger"])


@pytest.mark.parametrize("index", [-1, 7, 100])
def test_an_index_outside_the_space_is_refused_not_wrapped(index: int) -> None:
    with pytest.raises(DatasetError, match=rf"has 7 classes \(0..6\), got {index}"):
        FER2013.emotion(index)


def test_an_emotion_reads_as_its_label() -> None:
    assert str(Emotion.HAPPY) == "happy"
