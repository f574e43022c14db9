from dataclasses import replace

import numpy as np
import pytest
from fakes import calibrated_predictions

from fer_models.errors import UsageError
from fer_models.gate import metric_checks, power
from fer_models.gate.calibration import CalibrationFaces
from fer_models.gate.power import CONCENTRATED, DIFFUSE, Scenario, SimulationOptions
from fer_models.store.predictions import PredictionTable

SOURCE = power.Source.from_predictions(calibrated_predictions())


@pytest.mark.parametrize("kind", [DIFFUSE, CONCENTRATED])
def test_simulated_runs_have_the_fall_and_the_discordant_share_of_their_scenario(kind):
    scenario = Scenario(0.02, 0.10, kind)
    change = power.calibrate(SOURCE, scenario)
    negative = positive = faces = 0
    for truth, before, now, _, _ in power._simulated(SOURCE, change, 60, 2000, np.random.default_rng(1)):
        negative += int(((before == truth) & (now != truth)).sum())
        positive += int(((before != truth) & (now == truth)).sum())
        faces += len(truth)
    assert (negative - positive) / faces == pytest.approx(0.02, abs=0.003)
    assert (negative + positive) / faces == pytest.approx(0.10, abs=0.005)


@pytest.mark.parametrize(("loss", "share"), [(0.0, 1.0), (0.3, 1.0), (4.0, 0.1)])
def test_scenarios_are_calibrated_on_versions_like_those_of_the_simulated_runs(loss, share):
    faces = CalibrationFaces.draw(*SOURCE, n=3000)
    assert len(faces.truth) == 3000

    def correct(seed, loss):
        change, rng = power._Change(0.5, loss, share), np.random.default_rng(seed)
        return power._version(faces.logits, faces.truth, change, rng)[0] == faces.truth

    baseline, without, candidate = correct(1, 0.0), correct(2, 0.0), correct(2, loss)
    versions = faces.versions(0.5)
    assert versions.fall(loss, share) == without.mean() - candidate.mean()
    assert versions.discordance(loss, share) == (baseline != candidate).mean()


def test_without_a_fall_the_log_score_does_not_change_and_the_gate_rarely_fails():
    (result,) = power.run(
        calibrated_predictions(), SimulationOptions(60, 1000), scenarios=[Scenario(0.0, 0.10)]
    )
    assert abs(result.log_score) < 0.005
    assert result.rates["FAIL"].value <= 0.05
    assert result.rates["DEGRADED"].value <= 0.05


def test_the_log_score_detects_a_fall_that_accuracy_does_not():
    (result,) = power.run(
        calibrated_predictions(), SimulationOptions(40, 2000), scenarios=[Scenario(0.01, 0.10)]
    )
    assert result.rates["DEGRADED"].value > result.rates["McNemar"].value + 0.3
    assert result.rates["FAIL or DEGRADED"].value >= max(
        result.rates["FAIL"].value, result.rates["DEGRADED"].value
    )


def test_the_simulated_verdict_is_the_verdict_of_the_gate():
    """The simulation fails where the gate fails with all its bootstrap resamples."""
    for truth, before, now, _, _ in power._simulated(
        SOURCE, power.calibrate(SOURCE, Scenario(0.03, 0.10)), 12, 700, np.random.default_rng(2)
    ):
        checks = metric_checks.adjust_for_multiplicity(
            [metric_checks.paired_checks(truth, before, now, resamples=1999)]
        )[0]
        smallest = min(c.p for c in checks if not c.metric.startswith("recall:"))
        if not 0.005 < smallest < 0.02:  # where the two bootstraps may differ by chance
            assert power._fails(truth, before, now) == any(c.failed for c in checks)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_results_in_any_number_of_processes():
    scenarios, options = [Scenario(0.0, 0.05), Scenario(0.02, 0.10)], SimulationOptions(5, 300)
    alone, several, other_seed = (
        power.run(calibrated_predictions(600), each, scenarios=scenarios)
        for each in (options, replace(options, processes=2), replace(options, seed=1))
    )
    assert [r.as_json() for r in alone] == [r.as_json() for r in several]
    assert [r.as_json() for r in alone] != [r.as_json() for r in other_seed]


def test_the_minimum_detectable_fall_is_interpolated_on_the_power_curve():
    from fer_models.scoring.intervals import wilson_interval

    def result(fall, detected):
        return power.ScenarioResult(Scenario(fall, 0.1), {"FAIL": wilson_interval(detected, 100)}, 0.1, 0.0)

    curve = [result(0.0, 1), result(0.01, 40), result(0.02, 90)]
    assert power.minimum_detectable_fall(curve, "FAIL") == pytest.approx(0.018)
    assert power.minimum_detectable_fall(curve[:2], "FAIL") is None


@pytest.mark.parametrize(
    ("runs", "scenario", "message"),
    [
        (0, Scenario(0.0, 0.1), "at least one run"),
        (2000, Scenario(0.2, 0.1), "needs more discordant faces"),
        (2000, Scenario(0.0, 0.6), "at most half"),
    ],
)
def test_an_impossible_simulation_is_an_error(runs, scenario, message):
    with pytest.raises(UsageError, match=message):
        power.run(calibrated_predictions(200), SimulationOptions(runs), scenarios=[scenario])


def test_a_fall_cannot_be_simulated_from_certain_predictions():
    certain = np.eye(7)[np.arange(70) % 7]
    labels, n = np.arange(70) % 7, 70
    faces = tuple(map(str, range(n)))
    predictions = PredictionTable(faces, np.arange(n), labels, labels, certain, ("ok",) * n, ("",) * n)
    with pytest.raises(UsageError, match="too many of them are certain"):
        power.run(predictions, SimulationOptions(1, 70), scenarios=[Scenario(0.0, 0.5)])
    abstained = PredictionTable(
        ("0",), np.arange(1), np.zeros(1, int), np.full(1, -1), np.full((1, 7), np.nan), ("no",), ("",)
    )
    with pytest.raises(UsageError, match="no probabilities"):
        power.run(abstained, SimulationOptions(1))
