"""Prompt robustness, on models with known weaknesses."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.artifacts import checksummed_files
from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning, UsageError
from fer_models.robustness import prompt_robustness, prompt_search
from fer_models.robustness.prompt_robustness import INVARIANCES, invariances, prompt_sensitivity
from fer_models.robustness.prompt_search import Edit, Prompt, edits_of, search

TRUTH = np.arange(350) % 7
FACES = np.eye(7, dtype=np.float32)[TRUTH]


class Reader:
    """Right on every face, but for the faces whose emotion's texts it does not like: `weak(text)`, a share of
    which turns wrong.
    """

    def __init__(self, weak=lambda text: False, share=1.0):
        self.weak, self.share, self.n_sets = weak, share, 0

    def classify(self, features, prompt_set):
        self.n_sets += 1
        answers = features.argmax(axis=1)
        for emotion in range(7):
            disliked = np.mean([self.weak(text) for text in prompt_set.texts(emotion)])
            rows = np.flatnonzero(features.argmax(axis=1) == emotion)
            answers[rows[: round(disliked * self.share * len(rows))]] = (emotion + 1) % 7
        return Predictions.from_probabilities(np.eye(7)[answers] * 0.93 + 0.01)


def predictor(model, embeddings):
    """The predicted emotion of all faces by a prompt set, as a run computes it."""
    return lambda prompts: model.classify(embeddings, prompts).answer


SET = PromptSet("own", ("a {} face", "they look {}"), tuple((label, f"very {label}") for label in LABELS))


def test_the_sensitivity_of_a_set_is_that_of_its_templates_and_words_alone():
    result = prompt_sensitivity(predictor(Reader(lambda text: "look" in text), FACES), SET, TRUTH)
    assert result.templates["a {} face"]["value"] == 1.0
    assert result.templates["they look {}"]["value"] == 0.0
    assert (result.best, result.worst, result.mean) == (1.0, 0.0, 0.5)
    assert result.sd == pytest.approx(np.std([0, 1], ddof=1))
    assert result.ensemble["value"] == pytest.approx(0.5, abs=0.01)
    assert result.flip_rate == pytest.approx(0.5, abs=0.01)
    assert result.kappa < 0
    words = prompt_sensitivity(predictor(Reader(lambda text: "very sad" in text), FACES), SET, TRUTH).words
    assert words["sad"]["sad"]["value"] == 1.0
    assert words["sad"]["very sad"]["value"] == pytest.approx(6 / 7)
    assert set(words) == set(LABELS)


def test_a_model_that_depends_on_no_word_has_no_sensitivity():
    result = prompt_sensitivity(predictor(Reader(), FACES), SET, TRUTH)
    assert (result.sd, result.flip_rate, result.kappa) == (0.0, 0.0, pytest.approx(1.0))
    assert not any(counts.value for counts in invariances(predictor(Reader(), FACES), SET).values())


def test_one_template_has_no_kappa():
    assert prompt_sensitivity(predictor(Reader(), FACES), SET.only(template="a {} face"), TRUTH).kappa is None


@pytest.mark.parametrize(
    ("weak", "edit"),
    [
        (str.isupper, "upper case"),
        (lambda text: text.endswith("!"), "final exclamation mark"),
        (lambda text: "  " in text, "double spaces"),
        (lambda text: text.startswith("the "), "the for a"),
        (lambda text: "A Angry" in text, "title case"),
    ],
)
def test_flips_of_an_edit_that_keeps_the_meaning_are_counted(weak, edit):
    result = invariances(predictor(Reader(weak), FACES), SET)
    assert result[edit].value > 0.02
    assert set(result) == {*INVARIANCES, "order of the list"}


# -- the search ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_a_planted_weakness_is_found_and_shrunk_to_its_word(number):
    reader = Reader(lambda text: "photo" in text.split())
    result = search(predictor(reader, FACES), SET, TRUTH, examples=300, number=number)
    assert result.base["accuracy"] == 1.0
    assert result.worst["accuracy"] == 0.0
    assert result.breaking["edits"] == ["insert 'photo'"]
    assert result.breaking["template"].split().count("photo") == 1


@pytest.mark.slow
def test_a_weak_synonym_is_found_among_the_words_of_other_sets():
    reader = Reader(lambda text: "spooked" in text)
    result = search(predictor(reader, FACES), SET, TRUTH, grammar=[prompts.load("openai")], examples=500)
    assert result.breaking["edits"] == ["'spooked' for surprise"]


def test_the_search_finds_the_same_again_from_its_seed():
    def once():
        return search(
            predictor(Reader(lambda text: len(text) > 24, share=0.5), FACES),
            SET,
            TRUTH,
            examples=100,
            number=7,
        )

    assert once() == once()


def test_edits_that_broke_a_model_are_stored_and_tried_again(tmp_path):
    weak = Reader(
        lambda text: 0.08 * ("blurry" in text) + 0.08 * ("my" in text.split())
    )  # neither alone costs enough
    file = tmp_path / "deep" / "edits.json"
    first = search(predictor(weak, FACES), SET, TRUTH, examples=2000, breaking_file=file)
    assert sorted(first.breaking["edits"]) == ["insert 'blurry'", "insert 'my'"]
    again = search(predictor(weak, FACES), SET, TRUTH, examples=1, number=99, breaking_file=file)
    assert again.breaking == first.breaking
    assert (
        search(predictor(Reader(), FACES), SET, TRUTH, examples=1, breaking_file=file).breaking is None
    )  # mended since
    (path,) = file.parent.glob("edits-*.json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"blurry", b"blurrz"))
    assert (
        search(predictor(weak, FACES), SET, TRUTH, examples=1, number=99, breaking_file=file).breaking is None
    )
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged"):
        assert (
            search(predictor(weak, FACES), SET, TRUTH, examples=2000, breaking_file=file).breaking
            == first.breaking
        )
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "synonym", "what": ["fear"], "at": 0},
        {"kind": "insert", "what": [], "at": 0},
        {"kind": "case", "what": ["x"], "at": 0},
        {"kind": "unknown", "what": ["x"], "at": 0},
    ],
    ids=lambda edit: edit["kind"],
)
def test_stored_edits_that_cannot_be_applied_are_ignored(tmp_path, edit):
    file = tmp_path / "edits.json"
    checksummed_files.write(tmp_path, file.name, json.dumps([edit]).encode(), "Edits")
    assert prompt_search._load_edits(file) == ()
    searched = search(predictor(Reader(), FACES), SET, TRUTH, examples=5, breaking_file=file)
    assert searched.breaking is None


def test_the_judged_figure_does_not_depend_on_what_an_earlier_search_stored(tmp_path):
    weak = Reader(lambda text: 0.08 * ("blurry" in text) + 0.08 * ("my" in text.split()))
    file = tmp_path / "edits.json"
    assert search(predictor(weak, FACES), SET, TRUTH, examples=2000, breaking_file=file).breaking is not None
    plain = search(predictor(weak, FACES), SET, TRUTH, examples=1, number=99)
    again = search(predictor(weak, FACES), SET, TRUTH, examples=1, number=99, breaking_file=file)
    assert plain.breaking is None
    assert again.breaking is not None
    assert (again.worst, again.tried) == (plain.worst, plain.tried)
    np.testing.assert_array_equal(again.face_counts.counts, plain.face_counts.counts)


def test_a_model_without_a_weakness_has_no_breaking_prompt():
    reader = Reader()
    result = search(predictor(reader, FACES), SET, TRUTH, examples=60)
    assert result.breaking is None
    assert result.worst["accuracy"] == result.base["accuracy"] == 1.0
    assert reader.n_sets == result.tried  # each prompt once


def test_a_prompt_that_is_too_long_for_the_model_is_no_result():
    class Short(Reader):
        def classify(self, features, prompt_set):
            if any(len(text.split()) > 4 for text in prompt_set.texts(0)):
                raise UsageError("too long")
            return super().classify(features, prompt_set)

    assert search(predictor(Short(), FACES), SET, TRUTH, examples=60).worst["accuracy"] == 1.0


@given(st.lists(edits_of([SET, prompts.load("openai")]), max_size=5))
@settings(deadline=None)
def test_an_edited_prompt_is_a_valid_set_or_none(edits):
    base = Prompt("a photo of a {} face.", LABELS)
    prompt_set = base.edited(edits).as_set("edited")
    if prompt_set is not None:
        assert len(prompt_set.templates) == 1
        assert prompt_set.templates[0].count("{}") == 1
    assert base.edited([]) == base
    assert all(str(edit) for edit in edits)


@pytest.mark.parametrize(
    ("edit", "template"),
    [
        (Edit("insert", ("very",), 3), "a photo of very a {} face."),
        (Edit("drop", (), 1), "a of a {} face."),
        (Edit("end", ("!",)), "a photo of a {} face!"),
        (Edit("article", ("the",), 1), "a photo of the {} face."),
        (Edit("case", ("upper",)), "A PHOTO OF A {} FACE."),
        (Edit("template", ("{}",)), "{}"),
    ],
)
def test_each_edit_changes_the_template(edit, template):
    assert Prompt("a photo of a {} face.", LABELS).edited([edit]).template == template


# -- the figures ---------------------------------------------------------------------------------


def test_each_figure_is_the_mean_of_its_counts_per_face():
    result = prompt_robustness.prompt_robustness(
        predictor(Reader(lambda text: "look" in text or text.isupper()), FACES), SET, TRUTH, examples=20
    )
    figures = {
        name.removeprefix(prompt_robustness.PREFIX): counts for name, counts in result.figures().items()
    }
    assert all(name.startswith(prompt_robustness.PREFIX) for name in result.figures())
    assert all(counts.n == len(TRUTH) for counts in figures.values())
    assert figures["accuracy of the worst template"].value == result.spread.worst == 0.0
    assert figures["accuracy of the worst prompt found"].value == result.worst_prompt.worst["accuracy"]
    assert figures["flip rate, one template"].value == pytest.approx(result.spread.flip_rate)
    assert figures["flip rate, upper case"].value == result.invariances["upper case"] > 0
    for emotion, scores in result.spread.words.items():
        assert figures[f"accuracy of the worst word for {emotion}"].value == min(
            s["value"] for s in scores.values()
        )
    assert result.as_json()["set"]["name"] == "own"
