"""Fixtures of the evals, in addition to those of `parametrized_fixtures`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fer_models.artifacts import weights
from fer_models.plugin.session import state_of
from fer_models.zoo.spec import ModelSpec, RestorerSpec

if TYPE_CHECKING:  # heavy imports: a pytest run without these fixtures does not need them
    from fer_models.evaluation import Evaluation
    from fer_models.gate import gate
    from fer_models.gate.parity import ParityVerdict
    from fer_models.gate.restoration_effect import RestorationEffect
    from fer_models.gate.robustness_gate import RobustnessFigure
    from fer_models.inference.prediction_cache import Predict
    from fer_models.inference.runner import Combination
    from fer_models.plugin.state import State
    from fer_models.report.eval_report import EvalReport
    from fer_models.robustness.base import RobustnessResult
    from fer_models.robustness.input_format import InputPlausibility
    from fer_models.store.predictions import PredictionTable


class Gate:
    """The gate for one combination."""

    def __init__(self, state: State, combination: Combination) -> None:
        self.state, self.combination = state, combination

    def assert_no_regression(self, metric: str) -> None:
        """Fail the test, with a table and without a traceback, if a metric regressed against its baseline.

        Args:
            metric: `accuracy`, `macro_f1`, `recall` (of all seven emotions), `slice` (accuracy in each slice
                of the faces) or `log_loss`.
        """
        __tracebackhide__ = True
        from fer_models.report import verdicts

        reason = verdicts.failure_text(self.verdict, metric, self.state.strict)
        if reason is not None:
            pytest.fail(reason, pytrace=False)

    @property
    def verdict(self) -> gate.Verdict:
        """The verdict as a value, for tests of your own."""
        return self.state.evaluation.verdict(self.combination)


class RobustnessGate:
    """The gate for one robustness check of one combination."""

    def __init__(self, state: State, combination: Combination, kind: str) -> None:
        """`kind` is a key of `ROBUSTNESS_CHECKS`."""
        self.state, self.combination, self._kind = state, combination, kind

    @property
    def measured(self) -> RobustnessResult:
        """The result of the check."""
        return self.state.evaluation.robustness.measure(self._kind, self.combination)

    @property
    def verdicts(self) -> list[RobustnessFigure]:
        """Every figure with its verdict, for tests of your own."""
        return self.state.evaluation.robustness.verdicts(self._kind, self.combination)

    def assert_no_regression(self, part: str) -> None:
        """Fail the test, with a table and without a traceback, if a figure regressed against its baseline.

        Args:
            part: of the names of the figures, such as `template` or `rotations`. The test is skipped if there
                is none.
        """
        __tracebackhide__ = True
        from fer_models.report import robustness

        figures = [figure for figure in self.verdicts if part in figure.name.partition(": ")[2]]
        subject = self.state.evaluation.runner.subject(self.combination).id
        if not figures:
            pytest.skip(f"{subject}: this check has no figure with {part!r} in its name")
        reason = robustness.failure_text(subject, figures, self.state.strict)
        if reason is not None:
            pytest.fail(reason, pytrace=False)


class ParityGate:
    """The gate for one export next to its reference."""

    def __init__(self, state: State, combination: Combination) -> None:
        self.state, self.combination = state, combination

    @property
    def verdict(self) -> ParityVerdict:
        """The verdict as a value, for tests of your own."""
        return self.state.evaluation.parity.verdict(self.combination)

    def assert_not_worse(self) -> None:
        """Fail the test, with a table and without a traceback, if the export is worse than its reference."""
        __tracebackhide__ = True
        from fer_models.report import parity

        if self.verdict.paired.fails(self.state.strict):
            pytest.fail(parity.paired_message(self.verdict), pytrace=False)

    def assert_agreement(self) -> None:
        """Fail the test if an export in float32 disagrees with its reference, or more than recorded."""
        __tracebackhide__ = True
        from fer_models.report import parity

        if self.verdict.disagreement is not None:
            pytest.fail(parity.disagreement_message(self.verdict), pytrace=False)
        RobustnessGate(self.state, self.combination, "parity").assert_no_regression("disagreement")


class CostGate:
    """The gate for the time of one model, relative to the reference workload."""

    def __init__(self, state: State, combination: Combination) -> None:
        self.state, self.combination = state, combination

    def assert_no_regression(self, *, only_stored: bool = False) -> None:
        """Fail the test, with a table and without a traceback, if the model is slower than its baseline.

        The test is skipped where there is nothing to compare, such as a baseline of another machine.

        Args:
            only_stored: measure nothing, as several processes would disturb each other.
        """
        __tracebackhide__ = True
        from fer_models.report import cost_ratio

        verdict = self.state.evaluation.cost_ratios.judge(self.combination, only_stored=only_stored)
        subject = self.state.evaluation.runner.subject(self.combination).id
        if verdict is None:
            pytest.skip(f"{subject}: times are not measured with --benchmark-disable or several processes")
        if verdict.fails(self.state.strict):
            pytest.fail(cost_ratio.message(subject, verdict), pytrace=False)
        if verdict.reason and not self.state.update:
            pytest.skip(
                f"{subject}: {verdict.reason}. "
                'To record: repeat the run with -k "slower or accuracy and raw" --update-baselines'
            )


@pytest.fixture(scope="session")
def evaluation(request: pytest.FixtureRequest) -> Evaluation:
    """This run: `evaluation.runner` with faces, models and predictions, and the verdicts."""
    return state_of(request.config).evaluation


@pytest.fixture(scope="session")
def combination(request: pytest.FixtureRequest, model: ModelSpec, restoration: RestorerSpec) -> Combination:
    """One model and one restoration, by name; skipped, with a command, if this machine cannot predict."""
    return _available(request, model, restoration.name)


@pytest.fixture
def raw_combination(request: pytest.FixtureRequest, model: ModelSpec) -> Combination:
    """The model without restoration; skipped if its weights are missing."""
    return _available(request, model)


def _available(request: pytest.FixtureRequest, model: ModelSpec, restoration: str = "raw") -> Combination:
    """The combination. Skip the test if this machine cannot predict it."""
    from fer_models.inference.runner import Combination

    state, combination = state_of(request.config), Combination(model.name, restoration)
    reason = state.evaluation.runner.unavailable_reason(combination)
    if reason is not None:
        is_restorer = reason == state.evaluation.runner.restorer_unavailable_reason(restoration)
        state.skipped[restoration if is_restorer else model.name] = reason
        pytest.skip(reason)
    return combination


@pytest.fixture
def predictions(evaluation: Evaluation, combination: Combination) -> PredictionTable:
    """The predictions of the combination for each of its faces, stored or computed."""
    return evaluation.runner.predict(combination).predictions


@pytest.fixture(name="gate")
def gate_fixture(request: pytest.FixtureRequest, combination: Combination) -> Gate:
    """The gate for the combination."""
    return Gate(state_of(request.config), combination)


@pytest.fixture
def report_of_combination(
    request: pytest.FixtureRequest, combination: Combination
) -> Callable[[], EvalReport]:
    """A function that makes a report with the scores of this combination alone."""
    return partial(state_of(request.config).report_of, combination)


@pytest.fixture(scope="session")
def audit(evaluation: Evaluation) -> dict[str, Any]:
    """Duplicates, leaks and label noise of the faces, as `fer-models data audit` finds them."""
    return evaluation.runner.data.audit()


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The measured costs, for the page. Tests append to it."""
    return state_of(request.config).costs


@pytest.fixture
def cost_gate(request: pytest.FixtureRequest, raw_combination: Combination) -> CostGate:
    """The gate for the time of the model; tests of models without a recorded time are deselected."""
    return CostGate(state_of(request.config), raw_combination)


@pytest.fixture(scope="session")
def classifier(load_classifier: Callable[[], Any]) -> Any:
    """The loaded model; skipped if its weights are missing."""
    return load_classifier()


@pytest.fixture(scope="session")
def load_classifier(
    request: pytest.FixtureRequest, model: ModelSpec, evaluation: Evaluation
) -> Callable[[], Any]:
    """A function that returns the loaded model; skipped if its weights are missing."""
    _available(request, model)
    return lambda: evaluation.runner.classifier(model.name)


@pytest.fixture(scope="session")
def load_zero_shot_classifier(load_classifier: Callable[[], Any]) -> Callable[[], Any]:
    """`load_classifier` for zero-shot models; tests of other models are deselected."""
    return load_classifier


@pytest.fixture
def predict(raw_combination: Combination, evaluation: Evaluation) -> Iterator[Predict]:
    """A function from faces to the model's predictions; each image is predicted once over all runs."""
    with evaluation.runner.predictor(raw_combination) as function:
        yield function


@pytest.fixture
def predict_alone(raw_combination: Combination, evaluation: Evaluation) -> Iterator[Predict]:
    """`predict` with each face in a batch of its own, and with predictions of its own.

    It shows whether the other faces of a batch change a prediction.
    """
    from fer_models.classifiers.base import Predictions

    with evaluation.runner.predictor(raw_combination, variant="alone") as function:
        yield lambda faces: Predictions.joined([function([face]) for face in faces])


@pytest.fixture
def predict_in_float32(raw_combination: Combination, evaluation: Evaluation) -> Iterator[Predict]:
    """`predict` in float32; tests of models that run in float32 anyway are deselected."""
    with evaluation.runner.predictor(raw_combination, precision="float32") as function:
        yield function


@pytest.fixture
def input_plausibility(raw_combination: Combination, evaluation: Evaluation) -> InputPlausibility:
    """Whether a third-party model is far better with another input format; tests of others are deselected."""
    from fer_models.robustness.input_format import check_input

    return check_input(evaluation.runner, raw_combination)


@pytest.fixture
def training_step(model: ModelSpec, evaluation: Evaluation) -> Callable[[], tuple[Callable[[], float], int]]:
    """A function that builds one update of the model's recipe, and returns it with its number of faces."""

    def build() -> tuple[Callable[[], float], int]:
        from fer_models.training import supervised
        from fer_models.training.recipes import RECIPES

        runner = evaluation.runner
        return supervised.single_step(RECIPES[model.name], runner.data.faces, runner.options.runtime.device)

    return build


@pytest.fixture
def training_record(request: pytest.FixtureRequest, model: ModelSpec) -> dict[str, Any]:
    """The training record in the model's weights, by `fer-models train`; skipped where there is none."""
    _available(request, model)
    path = model.weights_path()
    file = path / "model.safetensors" if path is not None and path.is_dir() else path
    text = None if file is None or not file.exists() else weights.metadata(file).get("provenance")
    if text is None:
        pytest.skip(f"the weights of {model.name} have no training record")
    record: dict[str, Any] = json.loads(text)
    return record


@pytest.fixture
def prompt_robustness(request: pytest.FixtureRequest, raw_combination: Combination) -> RobustnessGate:
    """Prompt robustness of a zero-shot model; tests of other models are deselected."""
    return RobustnessGate(state_of(request.config), raw_combination, "prompt_robustness")


@pytest.fixture
def question_robustness(request: pytest.FixtureRequest, raw_combination: Combination) -> RobustnessGate:
    """Question robustness of a vision-language model; tests of other models are deselected."""
    return RobustnessGate(state_of(request.config), raw_combination, "question_robustness")


@pytest.fixture
def metamorphic(request: pytest.FixtureRequest, raw_combination: Combination) -> RobustnessGate:
    """Metamorphic robustness of the model."""
    return RobustnessGate(state_of(request.config), raw_combination, "metamorphic")


@pytest.fixture
def robustness(request: pytest.FixtureRequest, combination: Combination) -> RobustnessGate:
    """Corruption robustness of the combination."""
    return RobustnessGate(state_of(request.config), combination, "robustness")


@pytest.fixture
def parity(request: pytest.FixtureRequest, combination: Combination) -> ParityGate:
    """An export next to the model that it was exported from; tests of other models are deselected."""
    return ParityGate(state_of(request.config), _with_reference(request, combination))


@pytest.fixture
def parity_of_speed(
    request: pytest.FixtureRequest, raw_combination: Combination, evaluation: Evaluation
) -> Callable[..., None]:
    """A function that times an export and its reference in turns; see `ParityRun.measure_seconds`."""
    return partial(evaluation.parity.measure_seconds, _with_reference(request, raw_combination))


def _with_reference(request: pytest.FixtureRequest, combination: Combination) -> Combination:
    """The combination. Skip the test if the weights of its reference are missing."""
    state, references = state_of(request.config), state_of(request.config).evaluation.runner.references
    reason = references.unavailable_reason(combination)
    if reason is not None:
        state.skipped[f"parity of {combination.model}"] = reason
        pytest.skip(reason)
    return combination


@pytest.fixture
def effect(evaluation: Evaluation, combination: Combination) -> RestorationEffect:
    """The effect of a restoration on the model's predictions, against no restoration."""
    return evaluation.effects.of(combination)
