"""Plans of test sets for the gate."""

import numpy as np
import pytest

from fer_models.errors import UsageError
from fer_models.gate import metric_checks
from fer_models.gate.sample_plan import GateSettings, neighbouring_plans, plan


def test_a_plan_has_the_expected_flips_of_the_fall():
    one = plan(0.02, 0.1, GateSettings())
    assert one.negative_flips + one.positive_flips == pytest.approx(0.1 * one.n)
    assert one.negative_flips - one.positive_flips == pytest.approx(0.02 * one.n)


def test_neighbouring_plans_have_more_and_fewer_changed_faces():
    settings = GateSettings()
    plans = neighbouring_plans(plan(0.02, 0.1, settings), settings)
    assert [p.discordant for p in plans] == pytest.approx([0.05, 0.075, 0.1, 0.15, 0.2])
    assert [p.n for p in plans] == sorted(p.n for p in plans)


def test_impossible_neighbours_are_left_out():
    settings = GateSettings()
    assert [p.discordant for p in neighbouring_plans(plan(0.09, 0.1, settings), settings)] == pytest.approx(
        [0.1, 0.15, 0.2]
    )
    assert [p.discordant for p in neighbouring_plans(plan(0.3, 0.8, settings), settings)] == pytest.approx(
        [0.4, 0.6, 0.8]
    )


def test_a_fall_of_the_margin_cannot_be_planned_for():
    with pytest.raises(UsageError, match="Choose a larger fall"):
        plan(metric_checks.MARGIN, 0.1, GateSettings())


def fails_by_accuracy(rng, n, fall, discordant):
    """Whether the gate fails by accuracy, in a run of `n` faces with this true fall."""
    kinds = rng.choice(3, size=n, p=[(discordant + fall) / 2, (discordant - fall) / 2, 1 - discordant])
    truth = np.arange(n) % 7
    baseline, candidate = truth + (kinds == 1), truth + (kinds == 0)  # a wrong prediction is the next label
    checks = metric_checks.paired_checks(truth, baseline % 7, candidate % 7, resamples=0)
    return metric_checks.adjust_for_multiplicity([checks])[0][0].failed


@pytest.mark.slow
@pytest.mark.parametrize(("fall", "discordant"), [(0.05, 0.1), (0.03, 0.03), (0.1, 0.6)])
def test_the_gate_fails_as_often_as_planned(fall, discordant):
    n, rng = plan(fall, discordant, GateSettings()).n, np.random.default_rng(0)
    rate = np.mean([fails_by_accuracy(rng, n, fall, discordant) for _ in range(600)])
    assert rate == pytest.approx(0.8, abs=0.05)
