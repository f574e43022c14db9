"""Question robustness, on models with a known one."""

import numpy as np
import pytest

from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.questions import QUESTIONS
from fer_models.emotions import EMOTIONS
from fer_models.robustness.question_robustness import question_robustness, variants

TRUTH = np.arange(70) % 7
OWN = questions.load("one-word")


def oracle(question):
    return TRUTH.copy()


def first_listed(question):
    return np.full(len(TRUTH), int(question.order[0]))


def test_an_oracle_depends_on_no_question_and_no_order():
    result = question_robustness(oracle, OWN, TRUTH)
    assert all(
        used.accuracy["value"] == 1 and used.changed == 0
        for used in (*result.questions.values(), *result.shuffles.values())
    )
    for order in result.orders.values():
        assert order.circular["value"] == 1.0
        assert order.position_bias == pytest.approx(0.0)
        assert order.position_shares == pytest.approx([1 / 7] * 7)
    assert result.kappa == 1.0


def test_a_model_that_predicts_the_first_option_is_correct_in_one_rotation_of_seven():
    result = question_robustness(first_listed, OWN, TRUTH)
    order = result.orders["one-word"]
    assert [used.accuracy["value"] for used in order.rotations.values()] == pytest.approx([1 / 7] * 7)
    assert order.circular["value"] == 0.0
    assert order.position_shares[0] == 1.0
    assert order.position_bias == pytest.approx(6 / 7)


def test_an_abstaining_model_has_no_position_bias_and_no_prediction():
    result = question_robustness(lambda question: np.full(len(TRUTH), -1), OWN, TRUTH)
    assert result.questions["one-word"].unanswered == 1.0
    assert result.orders["multiple-choice"].position_bias == pytest.approx(0.0)
    assert result.figures()["prompts: accuracy of the worst question"].value == 0.0


def test_every_variant_is_used_once_and_every_emotion_has_every_position_once():
    used = []
    question_robustness(lambda q: used.append(q.name) or TRUTH, OWN, TRUTH)
    assert len(used) == len(set(used)) == len(variants(OWN)) == len(QUESTIONS) + 6 + 6 + 3
    for place in range(7):
        assert {OWN.rotated(by).order[place] for by in range(7)} == set(EMOTIONS)
    assert set(OWN.shuffled(1).order) == set(EMOTIONS)
    assert OWN.shuffled(1) == OWN.shuffled(1) != OWN.shuffled(2)
    assert len(variants(QUESTIONS["multiple-choice"])) == len(QUESTIONS) + 6 + 3


def test_the_reply_to_a_multiple_choice_question_is_the_letter_of_its_position():
    rotated = QUESTIONS["multiple-choice"].rotated(2)
    assert rotated.replies[rotated.order[0]] == "A"
    assert sorted(rotated.replies) == list("ABCDEFG")
    assert OWN.rotated(3).replies == OWN.replies


def test_each_figure_is_computed_from_its_counts_per_face():
    for answers in (oracle, first_listed):
        result = question_robustness(answers, OWN, TRUTH)
        figures = {name.removeprefix("prompts: "): counts for name, counts in result.figures().items()}
        assert all(counts.n == len(TRUTH) for counts in figures.values())
        assert figures["accuracy of the worst question"].value == min(
            used.accuracy["value"] for used in result.questions.values()
        )
        changed = [used.changed for name, used in result.questions.items() if name != "one-word"]
        assert figures["flip rate, another question"].value == pytest.approx(np.mean(changed))
        assert figures["flip rate, another order"].value == pytest.approx(
            np.mean([a.changed for a in result.shuffles.values()])
        )
        for name, order in result.orders.items():
            assert figures[f"accuracy in all rotations of {name}"].value == order.circular["value"]
            assert figures[f"position bias in {name}"].value == pytest.approx(order.position_bias)
            assert order.position_bias == pytest.approx(
                np.abs(np.array(order.position_shares) - 1 / 7).sum() / 2
            )
