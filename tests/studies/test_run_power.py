"""Simulated full runs: without a change they rarely fail, and harms are detected."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import calibrated_predictions

from fer_models.depth import FULL, STANDARD
from fer_models.errors import UsageError
from fer_models.gate import power
from fer_models.gate.power import SimulationOptions
from fer_models.studies import run_power, simulated_checks
from fer_models.studies.run_power import PLANS, Plan
from fer_models.studies.simulated_checks import (
    CHECKS,
    DISTURBED_SHARE,
    HARMS,
    NOISE_CORRELATION,
    Simulation,
    calibrate_disturbance,
)

SMALL = Plan(replace(FULL, variant_limit=49), 1, 1, dict.fromkeys(CHECKS, 1))


@pytest.fixture(scope="module")
def simulation():
    source = power.Source.from_predictions(calibrated_predictions())
    noise = power.calibrate(source, power.Scenario(0.0, 0.10)).noise
    return Simulation(
        source, noise, 700, {kind: calibrate_disturbance(source, noise, kind) for kind in DISTURBED_SHARE}
    )


def versions(simulation, kind, figure="", size=0.0, runs=20):
    """Both versions of the metrics of one check, in several runs."""
    harm = HARMS[figure][1] if figure else None
    return [CHECKS[kind](simulation, FULL, np.random.default_rng(i), harm, size) for i in range(runs)]


@pytest.mark.parametrize("kind", CHECKS)
def test_without_a_harm_both_versions_are_alike(simulation, kind):
    runs = versions(simulation, kind)
    for name in runs[0]:
        changes = [run[name][1].value - run[name][0].value for run in runs]
        spread = np.std(changes, ddof=1) / np.sqrt(len(changes))
        assert abs(np.mean(changes)) < 4.5 * spread + 1e-9, name


@pytest.mark.parametrize("figure", HARMS)
def test_a_larger_harm_makes_its_metric_worse(simulation, figure):
    means = []
    for size in (0.0, 1.0, 4.0):
        runs = versions(simulation, HARMS[figure][0], figure, size)
        changes = [run[figure][1].value - run[figure][0].value for run in runs]
        means.append(np.mean([run_power.worsened(figure, change) for change in changes]))
    assert means[0] < means[1] - 0.005 < means[2] - 0.01


def test_copies_change_about_the_calibrated_share_of_predictions(simulation):
    runs = versions(simulation, "metamorphic")
    shares = [run["metamorphic: flip rate, 1 pixel shift"][0].value for run in runs]
    smallest = DISTURBED_SHARE["metamorphic"]  # the noise of a version on a copy may change more
    assert smallest - 0.02 < np.mean(shares) < smallest + 0.1


def test_the_noise_of_a_version_is_correlated_over_the_copies_of_a_face(simulation):
    logits, truth = np.zeros((4000, 7), np.float32), np.zeros(4000, dtype=np.int64)

    def agreement(kind):
        draw = simulated_checks._Draw(replace(simulation, noise=1.0), np.random.default_rng(0), None, 0.0)
        baseline, _ = draw.predict(kind, logits, truth, [0.0, 0.0])
        return (baseline[0] == baseline[1]).mean()

    shares = [agreement(kind) for kind in sorted(CHECKS, key=NOISE_CORRELATION.__getitem__)]
    assert all(1 / 7 < share < 1 for share in shares)
    assert shares == sorted(shares)


@pytest.mark.slow
def test_a_full_run_without_a_change_rarely_fails(simulation):
    failed = run_power._null_runs(simulation, SMALL, 100, (0,))
    assert failed["any"] <= 7  # of 100, at 1.5 %: by chance once in twenty thousand times
    assert failed["robustness"] <= 4


@pytest.mark.slow
def test_the_same_seed_gives_the_same_results_in_any_number_of_processes():
    options = SimulationOptions(3, 140)
    (alone,) = run_power.run(calibrated_predictions(600), options, plans=[SMALL])
    assert set(alone.false_positive_rates) == {"any", *run_power.FAMILIES, "DEGRADED"}
    (several,) = run_power.run(calibrated_predictions(600), replace(options, processes=2), plans=[SMALL])
    assert several.as_json() == alone.as_json()


@pytest.mark.slow
def test_on_seven_faces_nothing_is_detected_and_on_seventy_a_large_change(simulation):
    figure = "prompts: flip rate, another order"
    level = 0.003 / 52
    few, many = (replace(SMALL, depth=replace(FULL, question_limit=n)) for n in (7, 70))
    assert run_power._detectable_change(simulation, few, figure, level, (0,)) is None
    assert 0.02 < run_power._detectable_change(simulation, many, figure, level, (0,)) < 0.6


def test_the_plans_have_the_sizes_of_the_depths():
    assert [plan.depth for plan in PLANS] == [STANDARD, FULL]
    for plan in PLANS:
        assert plan.subjects + plan.variants == 18
    assert run_power._faces_of(PLANS[0], "corruptions", 3589) == 7
    assert run_power._faces_of(PLANS[1], "prompt_robustness", 3589) == 3589


@pytest.mark.parametrize(
    ("options", "message"),
    [(SimulationOptions(0), "at least one run"), (SimulationOptions(1000, 3), "at least seven faces")],
)
def test_an_impossible_simulation_is_an_error(options, message):
    with pytest.raises(UsageError, match=message):
        run_power.run(calibrated_predictions(200), options)
