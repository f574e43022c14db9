"""Cost ratios: the time of a model relative to the reference workload."""

import math
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fer_models.cost.other_load import OtherLoad
from fer_models.cost.ratio import CostRatio

VALUES = (11.2, 11.0, 11.5, 11.1, 11.3, 11.4, 11.2, 11.2)
RATIO = CostRatio(VALUES, 32, "AMD EPYC, 2 cores", "cpu", "float32")


def scaled(ratio, factor):
    return replace(ratio, values=tuple(value * factor for value in ratio.values))


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=30))
def test_a_cost_ratio_comes_back_from_json_to_four_digits(values):
    ratio = replace(RATIO, values=tuple(values), other_load=0.02)
    again = CostRatio.from_json(ratio.as_json())
    assert replace(again, values=ratio.values) == ratio
    assert again.values == pytest.approx(values, rel=1e-3)


@given(st.floats(0.5, 2))
def test_the_change_is_that_of_the_medians_and_lies_within_its_interval(factor):
    change = scaled(RATIO, factor).change_from(RATIO)
    assert math.isclose(change.value, factor - 1, abs_tol=1e-9)
    assert change.low <= change.value <= change.high


def test_rounds_without_variance_have_an_interval_of_no_width():
    constant = replace(RATIO, values=(10.0, 10.0))
    assert scaled(constant, 1.5).change_from(constant) == (0.5, 0.5, 0.5)


def test_the_interval_is_wider_where_rounds_differ_more():
    noisy = replace(RATIO, values=tuple(value * (1 + 0.2 * (-1) ** i) for i, value in enumerate(VALUES)))
    quiet, loud = RATIO.change_from(RATIO), noisy.change_from(RATIO)
    assert loud.high - loud.low > 3 * (quiet.high - quiet.low)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"machine": "abacus"}, ["machine 'AMD EPYC, 2 cores'"]),
        ({"precision": "bf16", "faces": 8}, ["precision 'float32'", "faces 32"]),
    ],
)
def test_different_conditions_are_named_as_the_other_measurement_has_them(changes, words):
    assert replace(RATIO, **changes).different_conditions(RATIO) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "an object"),
        ({"values": [1.0]}, "its fields must be"),
        (RATIO.as_json() | {"values": []}, "positive numbers"),
        (RATIO.as_json() | {"values": [1.0]}, "at least two"),
        (RATIO.as_json() | {"values": [1.0, -2.0]}, "positive numbers"),
        (RATIO.as_json() | {"values": [True]}, "positive numbers"),
        (RATIO.as_json() | {"values": "12"}, "values must be list"),
        (RATIO.as_json() | {"faces": 0}, "at least 1"),
        (RATIO.as_json() | {"compiled": 1}, "compiled must be bool"),
    ],
)
def test_what_is_no_cost_ratio_is_refused_with_the_reason(value, words):
    with pytest.raises(ValueError, match=words):
        CostRatio.from_json(value)


def test_the_load_of_other_processes_is_the_work_of_the_machine_without_ones_own(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 0 5000 0 0 0 0 0 0\n")
    load = OtherLoad(stat)
    stat.write_text("cpu  100000000 0 0 5000 0 0 0 0 0 0\n")
    assert load.share() == 1.0
    stat.write_text("cpu  100 0 0 9000 0 0 0 0 0 0\n")  # idle, but for this process
    assert load.share() == 0.0


@pytest.mark.parametrize("content", ["", "cpu\n", "processor 0\n", "cpu a b c d e f g h\n"])
def test_the_load_is_unknown_where_the_system_does_not_tell(tmp_path, content):
    stat = tmp_path / "stat"
    assert OtherLoad(stat).share() is None
    stat.write_text(content)
    assert OtherLoad(stat).share() is None
