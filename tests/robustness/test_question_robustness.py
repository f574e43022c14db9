"""How much answers hang on how a model is asked, on models whose weaknesses are known."""

import numpy as np
import pytest

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.emotions import EMOTIONS
from fer_models.robustness.question_robustness import question_robustness, variants

TRUTH = np.arange(70) % 7
OWN = questions.load("one-word")


def knowing(question):
    return TRUTH.copy()


def first_listed(question):
    return np.full(len(TRUTH), int(question.order[0]))


def test_a_model_that_knows_minds_no_words_and_no_order():
    found = question_robustness(knowing, OWN, TRUTH)
    assert all(
        asked.accuracy["value"] == 1 and asked.changed == 0
        for asked in (*found.questions.values(), *found.shuffles.values())
    )
    for order in found.orders.values():
        assert order.circular["value"] == 1.0
        assert order.position_bias == pytest.approx(0.0)
        assert order.position_shares == pytest.approx([1 / 7] * 7)
    assert found.kappa == 1.0


def test_a_model_that_takes_what_stands_first_is_right_once_in_seven_and_never_in_all_orders():
    found = question_robustness(first_listed, OWN, TRUTH)
    order = found.orders["one-word"]
    assert [asked.accuracy["value"] for asked in order.rotations.values()] == pytest.approx([1 / 7] * 7)
    assert order.circular["value"] == 0.0
    assert order.position_shares[0] == 1.0
    assert order.position_bias == pytest.approx(6 / 7)


def test_a_model_that_says_nothing_has_no_favourite_place_and_no_answer():
    found = question_robustness(lambda question: np.full(len(TRUTH), -1), OWN, TRUTH)
    assert found.questions["one-word"].unanswered == 1.0
    assert found.orders["multiple-choice"].position_bias == pytest.approx(0.0)
    assert found.figures()["prompts: accuracy of the worst question"].value == 0.0


def test_every_way_to_ask_is_asked_once_and_every_emotion_stands_everywhere_once():
    asked = []
    question_robustness(lambda q: asked.append(q.name) or TRUTH, OWN, TRUTH)
    assert len(asked) == len(set(asked)) == len(variants(OWN)) == len(QUESTIONS) + 6 + 6 + 3
    for place in range(7):
        assert {OWN.rotated(by).order[place] for by in range(7)} == set(EMOTIONS)
    assert set(OWN.shuffled(1).order) == set(EMOTIONS)
    assert OWN.shuffled(1) == OWN.shuffled(1) != OWN.shuffled(2)
    assert len(variants(QUESTIONS["multiple-choice"])) == len(QUESTIONS) + 6 + 3


def test_the_answer_to_a_lettered_question_is_the_letter_of_its_place():
    turned = QUESTIONS["multiple-choice"].rotated(2)
    assert turned.replies[turned.order[0]] == "A"
    assert sorted(turned.replies) == list("ABCDEFG")
    assert OWN.rotated(3).replies == OWN.replies


def test_each_figure_is_computed_from_what_it_counts_per_face():
    for answers in (knowing, first_listed):
        found = question_robustness(answers, OWN, TRUTH)
        figures = {name.removeprefix("prompts: "): counts for name, counts in found.figures().items()}
        assert all(counts.n == len(TRUTH) for counts in figures.values())
        assert figures["accuracy of the worst question"].value == min(
            asked.accuracy["value"] for asked in found.questions.values()
        )
        changed = [asked.changed for name, asked in found.questions.items() if name != "one-word"]
        assert figures["flip rate, another question"].value == pytest.approx(np.mean(changed))
        assert figures["flip rate, another order"].value == pytest.approx(
            np.mean([a.changed for a in found.shuffles.values()])
        )
        for name, order in found.orders.items():
            assert figures[f"accuracy in all rotations of {name}"].value == order.circular["value"]
            assert figures[f"position bias in {name}"].value == pytest.approx(order.position_bias)
            assert order.position_bias == pytest.approx(
                np.abs(np.array(order.position_shares) - 1 / 7).sum() / 2
            )
