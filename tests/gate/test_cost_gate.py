"""The gate for the time of a model."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fer_models.cost.ratio import CostRatio
from fer_models.gate.baselines import SLOWDOWN_MARGIN
from fer_models.gate.cost_gate import judge
from fer_models.report import cost_ratio

RECORDED = CostRatio(tuple(11 + 0.1 * np.sin(range(12))), 32, "AMD EPYC, 2 cores", "cpu", "float32")


def slower(share, ratio=RECORDED):
    return replace(ratio, values=tuple(value * (1 + share) for value in ratio.values))


@pytest.mark.parametrize(
    ("share", "status"),
    [(-0.3, "PASS"), (0.0, "PASS"), (0.08, "PASS"), (0.105, "INCONCLUSIVE"), (0.2, "FAIL")],
)
def test_a_model_fails_where_the_whole_interval_is_above_the_margin(share, status):
    assert judge(slower(share), RECORDED).status == status


@given(
    st.lists(st.floats(5, 20), min_size=6, max_size=24), st.lists(st.floats(5, 20), min_size=6, max_size=24)
)
def test_a_failure_is_always_a_slowdown_beyond_the_margin(now, recorded):
    verdict = judge(replace(RECORDED, values=tuple(now)), replace(RECORDED, values=tuple(recorded)))
    if verdict.status == "PASS":
        assert verdict.change.value <= SLOWDOWN_MARGIN
    else:
        assert verdict.change.value > SLOWDOWN_MARGIN
        assert (verdict.status == "FAIL") == (verdict.change.low > SLOWDOWN_MARGIN)


def test_an_inconclusive_slowdown_fails_only_under_strict_and_a_failure_always():
    inconclusive, failed = judge(slower(0.105), RECORDED), judge(slower(0.5), RECORDED)
    assert [inconclusive.fails(strict) for strict in (False, True)] == [False, True]
    assert [failed.fails(strict) for strict in (False, True)] == [True, True]


@pytest.mark.parametrize(
    ("now", "recorded", "words"),
    [
        (slower(1), None, "no cost ratio"),
        (slower(1), replace(RECORDED, machine="abacus"), "machine 'abacus'"),
        (replace(slower(1), other_load=0.4), RECORDED, "other processes used 40%"),
    ],
)
def test_nothing_is_compared_without_a_comparable_record_or_on_a_busy_machine(now, recorded, words):
    verdict = judge(now, recorded)
    assert verdict.status == "NEW"
    assert words in verdict.reason
    assert not verdict.fails(strict=True)
    assert cost_ratio.message("net-raw", verdict) == ""
    assert cost_ratio.entry(verdict, True, "")["figures"] == []


def test_the_text_of_a_failure_has_both_times_their_change_and_the_next_command():
    text = cost_ratio.message("net-raw on toy/test", judge(slower(0.2), RECORDED))
    first, _, row, *facts = text.splitlines()
    assert first == "net-raw on toy/test: inference takes longer than its baseline, by more than 10%."
    assert row.startswith("> cost ratio")
    assert "+20.0%" in row
    assert any("AMD EPYC" in fact for fact in facts)
    assert "--update-baselines" in facts[-1]
    assert max(map(len, text.splitlines())) <= 110
