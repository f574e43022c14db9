import numpy as np
import pytest
from fakes import unsure

from fer_models.errors import UsageError
from fer_models.gate import gate, power
from fer_models.gate.power import CONCENTRATED, DIFFUSE, Scenario
from fer_models.store.predictions import PredictionTable

SOURCE = power.Source.from_predictions(unsure())


@pytest.mark.parametrize("kind", [DIFFUSE, CONCENTRATED])
def test_a_scenario_is_true_of_what_is_simulated(kind):
    scenario = Scenario(0.02, 0.10, kind)
    change = power.calibrate(SOURCE, scenario)
    fell = rose = faces = 0
    for truth, before, now, _, _ in power._simulated(SOURCE, change, 60, 2000, np.random.default_rng(1)):
        fell += int(((before == truth) & (now != truth)).sum())
        rose += int(((before != truth) & (now == truth)).sum())
        faces += len(truth)
    assert (fell - rose) / faces == pytest.approx(0.02, abs=0.003)
    assert (fell + rose) / faces == pytest.approx(0.10, abs=0.005)


def test_without_a_fall_both_versions_are_alike_and_the_gate_is_calm():
    (outcome,) = power.run(unsure(), scenarios=[Scenario(0.0, 0.10)], runs=60, n=1000)
    assert abs(outcome.log_score) < 0.005
    assert outcome.rates["FAIL"].value <= 0.05
    assert outcome.rates["DEGRADED"].value <= 0.05


def test_the_probabilities_see_a_fall_that_right_and_wrong_do_not():
    (outcome,) = power.run(unsure(), scenarios=[Scenario(0.01, 0.10)], runs=40, n=2000)
    assert outcome.rates["DEGRADED"].value > outcome.rates["McNemar"].value + 0.3
    assert outcome.rates["FAIL or DEGRADED"].value >= max(
        outcome.rates["FAIL"].value, outcome.rates["DEGRADED"].value
    )


def test_the_verdict_is_the_gates_own():
    """What the self-test calls FAIL is what the gate settles with all its bootstrap resamples."""
    for truth, before, now, _, _ in power._simulated(
        SOURCE, power.calibrate(SOURCE, Scenario(0.03, 0.10)), 12, 700, np.random.default_rng(2)
    ):
        checks = gate.adjust_for_multiplicity([gate.paired_checks(truth, before, now, resamples=1999)])[0]
        surest = min(c.p for c in checks if not c.metric.startswith("recall:"))
        if not 0.005 < surest < 0.02:  # where the two bootstraps may differ by chance
            assert power._fails(truth, before, now) == any(c.failed for c in checks)


def test_the_same_seed_gives_the_same_figures_in_any_number_of_processes():
    options = {"scenarios": [Scenario(0.0, 0.05), Scenario(0.02, 0.10)], "runs": 5, "n": 300}
    alone = power.run(unsure(600), **options)
    assert [o.as_json() for o in alone] == [
        o.as_json() for o in power.run(unsure(600), processes=2, **options)
    ]
    assert [o.as_json() for o in alone] != [o.as_json() for o in power.run(unsure(600), seed=1, **options)]


def test_the_smallest_fall_found_is_read_off_the_power_curve():
    from fer_models.scoring.intervals import wilson_interval

    def outcome(fall, found):
        return power.ScenarioResult(Scenario(fall, 0.1), {"FAIL": wilson_interval(found, 100)}, 0.1, 0.0)

    curve = [outcome(0.0, 1), outcome(0.01, 40), outcome(0.02, 90)]
    assert power.minimum_detectable_fall(curve, "FAIL") == pytest.approx(0.018)
    assert power.minimum_detectable_fall(curve[:2], "FAIL") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": 0}, "at least one run"),
        ({"scenarios": [Scenario(0.2, 0.1)]}, "needs more faces"),
        ({"scenarios": [Scenario(0.0, 0.6)]}, "at most half"),
    ],
)
def test_what_cannot_be_simulated_is_said(options, message):
    with pytest.raises(UsageError, match=message):
        power.run(unsure(200), **options)


def test_answers_that_are_all_certain_cannot_show_a_fall():
    certain = np.eye(7)[np.arange(70) % 7]
    answers = PredictionTable(
        tuple(map(str, range(70))),
        np.arange(70),
        np.arange(70) % 7,
        np.arange(70) % 7,
        certain,
        ("ok",) * 70,
        ("",) * 70,
    )
    with pytest.raises(UsageError, match="too many of them are certain"):
        power.run(answers, scenarios=[Scenario(0.0, 0.5)], runs=1, n=70)
    silent = PredictionTable(
        ("0",), np.arange(1), np.zeros(1, int), np.full(1, -1), np.full((1, 7), np.nan), ("no",), ("",)
    )
    with pytest.raises(UsageError, match="no probabilities"):
        power.run(silent, runs=1)
