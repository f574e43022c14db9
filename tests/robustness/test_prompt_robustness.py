"""Robustness to words, on models of words whose weaknesses are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning, UsageError
from fer_models.robustness import prompt_robustness
from fer_models.robustness.prompt_robustness import INVARIANCES, invariances, prompt_sensitivity
from fer_models.robustness.prompt_search import Edit, Prompt, edits_of, search

TRUTH = np.arange(350) % 7
FACES = np.eye(7, dtype=np.float32)[TRUTH]


class Reader:
    """Right on every face, but for the faces whose emotion's texts it does not like: `weak(text)`, a share of
    which turns wrong.
    """

    def __init__(self, weak=lambda text: False, share=1.0):
        self.weak, self.share, self.asked = weak, share, 0

    def classify(self, features, asked):
        self.asked += 1
        answers = features.argmax(axis=1)
        for emotion in range(7):
            disliked = np.mean([self.weak(text) for text in asked.texts(emotion)])
            rows = np.flatnonzero(features.argmax(axis=1) == emotion)
            answers[rows[: round(disliked * self.share * len(rows))]] = (emotion + 1) % 7
        return Predictions.from_probabilities(np.eye(7)[answers] * 0.93 + 0.01)


def asker(model, embeddings):
    """The predicted emotion of all faces by a prompt set, as a run computes it."""
    return lambda prompts: model.classify(embeddings, prompts).answer


SET = PromptSet("own", ("a {} face", "they look {}"), tuple((label, f"very {label}") for label in LABELS))


def test_the_spread_of_a_set_is_that_of_its_templates_and_words_alone():
    found = prompt_sensitivity(asker(Reader(lambda text: "look" in text), FACES), SET, TRUTH)
    assert found.templates["a {} face"]["value"] == 1.0
    assert found.templates["they look {}"]["value"] == 0.0
    assert (found.best, found.worst, found.mean) == (1.0, 0.0, 0.5)
    assert found.sd == pytest.approx(np.std([0, 1], ddof=1))
    assert found.ensemble["value"] == pytest.approx(0.5, abs=0.01)
    assert found.flip_rate == pytest.approx(0.5, abs=0.01)
    assert found.kappa < 0
    words = prompt_sensitivity(asker(Reader(lambda text: "very sad" in text), FACES), SET, TRUTH).words
    assert words["sad"]["sad"]["value"] == 1.0
    assert words["sad"]["very sad"]["value"] == pytest.approx(6 / 7)
    assert set(words) == set(LABELS)


def test_a_model_that_minds_no_word_has_no_spread():
    found = prompt_sensitivity(asker(Reader(), FACES), SET, TRUTH)
    assert (found.sd, found.flip_rate, found.kappa) == (0.0, 0.0, pytest.approx(1.0))
    assert not any(counts.value for counts in invariances(asker(Reader(), FACES), SET).values())


def test_one_template_has_no_agreement_to_measure():
    assert prompt_sensitivity(asker(Reader(), FACES), SET.only(template="a {} face"), TRUTH).kappa is None


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
def test_an_edit_that_should_not_matter_and_does_is_seen(weak, edit):
    found = invariances(asker(Reader(weak), FACES), SET)
    assert found[edit].value > 0.02
    assert set(found) == {*INVARIANCES, "order of the list"}


# -- the search ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_a_planted_weakness_is_found_and_shrunk_to_its_word(number):
    reader = Reader(lambda text: "photo" in text.split())
    found = search(asker(reader, FACES), SET, TRUTH, examples=300, number=number)
    assert found.base["accuracy"] == 1.0
    assert found.worst["accuracy"] == 0.0
    assert found.breaking["edits"] == ["insert 'photo'"]
    assert found.breaking["template"].split().count("photo") == 1


def test_a_weak_synonym_is_found_among_the_words_of_other_sets():
    reader = Reader(lambda text: "spooked" in text)
    found = search(asker(reader, FACES), SET, TRUTH, grammar=[prompts.load("openai")], examples=500)
    assert found.breaking["edits"] == ["'spooked' for surprise"]


def test_the_search_finds_the_same_again_from_its_seed():
    def once():
        return search(
            asker(Reader(lambda text: len(text) > 24, share=0.5), FACES), SET, TRUTH, examples=100, number=7
        )

    assert once() == once()


def test_what_broke_a_model_is_kept_and_tried_first(tmp_path):
    weak = Reader(
        lambda text: 0.08 * ("blurry" in text) + 0.08 * ("my" in text.split())
    )  # neither alone costs enough
    file = tmp_path / "deep" / "kept.json"
    first = search(asker(weak, FACES), SET, TRUTH, examples=2000, breaking_file=file)
    assert sorted(first.breaking["edits"]) == ["insert 'blurry'", "insert 'my'"]
    again = search(asker(weak, FACES), SET, TRUTH, examples=1, number=99, breaking_file=file)
    assert again.breaking == first.breaking
    assert (
        search(asker(Reader(), FACES), SET, TRUTH, examples=1, breaking_file=file).breaking is None
    )  # mended since
    (path,) = file.parent.glob("kept-*.json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"blurry", b"blurrz"))
    assert search(asker(weak, FACES), SET, TRUTH, examples=1, number=99, breaking_file=file).breaking is None
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged"):
        assert (
            search(asker(weak, FACES), SET, TRUTH, examples=2000, breaking_file=file).breaking
            == first.breaking
        )
    assert path.read_bytes() == content


def test_a_model_without_a_weakness_has_no_breaking_prompt():
    reader = Reader()
    found = search(asker(reader, FACES), SET, TRUTH, examples=60)
    assert found.breaking is None
    assert found.worst["accuracy"] == found.base["accuracy"] == 1.0
    assert reader.asked == found.tried  # each prompt once


def test_a_prompt_that_a_model_cannot_read_is_no_finding():
    class Short(Reader):
        def classify(self, features, asked):
            if any(len(text.split()) > 4 for text in asked.texts(0)):
                raise UsageError("too long")
            return super().classify(features, asked)

    assert search(asker(Short(), FACES), SET, TRUTH, examples=60).worst["accuracy"] == 1.0


@given(st.lists(edits_of([SET, prompts.load("openai")]), max_size=5))
@settings(deadline=None)
def test_an_edited_prompt_can_be_asked_or_is_none(edits):
    base = Prompt("a photo of a {} face.", LABELS)
    asked = base.edited(edits).as_set("edited")
    if asked is not None:
        assert len(asked.templates) == 1
        assert asked.templates[0].count("{}") == 1
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
def test_each_edit_does_what_it_says(edit, template):
    assert Prompt("a photo of a {} face.", LABELS).edited([edit]).template == template


# -- the figures ---------------------------------------------------------------------------------


def test_each_figure_is_the_mean_of_what_it_counts_per_face():
    found = prompt_robustness.prompt_robustness(
        asker(Reader(lambda text: "look" in text or text.isupper()), FACES), SET, TRUTH, examples=20
    )
    figures = {
        name.removeprefix(prompt_robustness.PREFIX): counts for name, counts in found.figures().items()
    }
    assert all(name.startswith(prompt_robustness.PREFIX) for name in found.figures())
    assert all(counts.n == len(TRUTH) for counts in figures.values())
    assert figures["accuracy of the worst template"].value == found.spread.worst == 0.0
    assert figures["accuracy of the worst prompt found"].value == found.worst_prompt.worst["accuracy"]
    assert figures["flip rate, one template"].value == pytest.approx(found.spread.flip_rate)
    assert figures["flip rate, upper case"].value == found.invariances["upper case"] > 0
    for emotion, scores in found.spread.words.items():
        assert figures[f"accuracy of the worst word for {emotion}"].value == min(
            s["value"] for s in scores.values()
        )
    assert found.as_json()["set"]["name"] == "own"
