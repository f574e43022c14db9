"""Fixtures of the evals, in addition to those of `parametrized_fixtures`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fer_models.artifacts import weights
from fer_models.plugin.session import state_of
from fer_models.zoo.spec import ModelSpec, RestorerSpec

if TYPE_CHECKING:  # heavy imports: a pytest run that needs no fixture of these pays nothing for them
    from fer_models.evaluation import Suite
    from fer_models.gate import gate
    from fer_models.gate.restoration_effect import RestorationEffect
    from fer_models.gate.robustness_gate import RobustnessFigure
    from fer_models.inference.prediction_cache import Predict
    from fer_models.inference.runner import Combination
    from fer_models.plugin.state import State
    from fer_models.robustness.base import RobustnessResult
    from fer_models.store.predictions import PredictionTable


class Gate:
    """What a question asks of the gate: `holds(metric)` fails the test with the failure table, without a
    traceback.
    """

    def __init__(self, state: State, pair: Combination) -> None:
        self.state, self.pair = state, pair

    def assert_no_regression(self, metric: str) -> None:
        """Fail unless `metric` (`accuracy`, `macro_f1`, `recall` for all seven, or `drift`) holds its
        baseline.
        """
        __tracebackhide__ = True
        from fer_models.report import verdicts

        verdict = self.state.suite.verdict(self.pair)
        reason = verdicts.why_not(verdict, metric, self.state.strict)
        if reason is not None:
            pytest.fail(reason, pytrace=False)

    @property
    def verdict(self) -> gate.Verdict:
        """The verdict itself, for questions of one's own."""
        return self.state.suite.verdict(self.pair)


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> Suite:
    """This run: its faces, answers and verdicts."""
    return state_of(request.config).suite


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest, model: ModelSpec, restoration: RestorerSpec) -> Combination:
    """One model and one restoration that can be asked here; skipped with the command that would make it
    so.
    """
    return _available(state_of(request.config), (model.name, restoration.name))


def _available(state: State, pair: Combination) -> Combination:
    reason = state.suite.unavailable_reason(pair)
    if reason is not None:
        missing = pair[1] if reason == state.suite.restorer_unavailable_reason(pair[1]) else pair[0]
        state.skipped[missing] = reason
        pytest.skip(reason)
    return pair


@pytest.fixture
def predictions(suite: Suite, pair: Combination) -> PredictionTable:
    """What the pair answers of every face, from the store or asked now."""
    return suite.predict(pair).predictions


@pytest.fixture(name="gate")
def gate_fixture(request: pytest.FixtureRequest, pair: Combination) -> Gate:
    """The gate for the pair."""
    return Gate(state_of(request.config), pair)


@pytest.fixture(scope="session")
def audit(suite: Suite) -> dict[str, Any]:
    """What is wrong with the faces, as `fer-models data audit` finds it; it stands on the page too."""
    return suite.data.audit()


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Where cost questions leave what they measured, for the page."""
    return state_of(request.config).costs


@pytest.fixture(scope="session")
def classifier(request: pytest.FixtureRequest, model: ModelSpec, suite: Suite) -> Any:
    """The model itself, loaded; skipped where its weights are not here."""
    _available(state_of(request.config), (model.name, "raw"))
    return suite.classifier(model.name)


@pytest.fixture(scope="session")
def load_classifier(request: pytest.FixtureRequest, model: ModelSpec, suite: Suite) -> Callable[[], Any]:
    """A function that returns the loaded model, for tests that need it only if nothing is stored; skipped
    without its weights.
    """
    _available(state_of(request.config), (model.name, "raw"))
    return lambda: suite.classifier(model.name)


@pytest.fixture(scope="session")
def load_zero_shot_classifier(load_classifier: Callable[[], Any]) -> Callable[[], Any]:
    """`load_classifier`, for zero-shot models only: tests with it are deselected for others."""
    return load_classifier


@pytest.fixture
def predict(raw_pair: Combination, suite: Suite) -> Iterator[Predict]:
    """A function from faces to the model's predictions; each image is predicted once, now or in an earlier
    run.
    """
    with suite.predictor(raw_pair) as function:
        yield function


@pytest.fixture
def predict_reversed(raw_pair: Combination, suite: Suite) -> Iterator[Predict]:
    """`predict` for faces in the reverse order, with predictions of its own: they show whether neighbours in
    a batch matter.
    """
    with suite.predictor(raw_pair, variant="reversed batch") as function:
        yield lambda faces: function(faces[::-1])


@pytest.fixture
def predict_in_float32(raw_pair: Combination, suite: Suite) -> Iterator[Predict]:
    """`predict` in float32; tests with it are deselected for models that run in float32 anyway."""
    with suite.predictor(raw_pair, precision="float32") as function:
        yield function


@pytest.fixture
def training_step(model: ModelSpec, suite: Suite) -> Callable[[], tuple[Callable[[], float], int]]:
    """A function that builds one update of the model's own recipe on a batch of this run's faces: (the
    update, faces in the batch).
    """

    def build() -> tuple[Callable[[], float], int]:
        from fer_models.training import supervised
        from fer_models.training.recipes import RECIPES

        return supervised.single_step(RECIPES[model.name], suite.data.faces, suite.options.runtime.device)

    return build


@pytest.fixture
def training_record(request: pytest.FixtureRequest, model: ModelSpec) -> dict[str, Any]:
    """How the model's weights were trained, as `fer-models train` wrote it into them; skipped for weights
    that do not say.
    """
    _available(state_of(request.config), (model.name, "raw"))
    path = model.weights_path()
    file = path / "model.safetensors" if path is not None and path.is_dir() else path
    said = None if file is None or not file.exists() else weights.metadata(file).get("provenance")
    if said is None:
        pytest.skip(f"the weights of {model.name} do not say how they were trained")
    record: dict[str, Any] = json.loads(said)
    return record


class RobustnessGate:
    """The robustness gate for one check: `holds` fails the test with the table of the figures that got worse,
    without a traceback.
    """

    def __init__(self, state: State, pair: Combination, kind: str) -> None:
        """`kind` is one of `beside.KINDS`."""
        self.state, self.pair, self._kind = state, pair, kind

    @property
    def measured(self) -> RobustnessResult:
        """All that was measured."""
        return self.state.suite.robustness.measure(self._kind, self.pair)

    @property
    def verdicts(self) -> list[RobustnessFigure]:
        """Every figure with its verdict, for questions of one's own."""
        return self.state.suite.robustness.verdicts(self._kind, self.pair)

    def assert_no_regression(self, part: str) -> None:
        """Fail where a figure with `part` in its name (such as `template` or `rotations`) fails; skip where
        there is no such figure.
        """
        __tracebackhide__ = True
        from fer_models.report import robustness

        figures = [figure for figure in self.verdicts if part in figure.name.partition(": ")[2]]
        subject = self.state.suite.subject(self.pair).id
        if not figures:
            pytest.skip(f"{subject}: this check has no figure with {part!r} in its name")
        reason = robustness.why_not(subject, figures, self.state.strict)
        if reason is not None:
            pytest.fail(reason, pytrace=False)


@pytest.fixture
def raw_pair(request: pytest.FixtureRequest, model: ModelSpec) -> Combination:
    """The model on the faces as they are; skipped where its weights are not here."""
    return _available(state_of(request.config), (model.name, "raw"))


@pytest.fixture
def prompting(request: pytest.FixtureRequest, raw_pair: Combination) -> RobustnessGate:
    """How much the model's answers hang on its prompts; only models that are asked by prompts about what they
    have seen are asked this.
    """
    return RobustnessGate(state_of(request.config), raw_pair, "prompting")


@pytest.fixture
def questioning(request: pytest.FixtureRequest, raw_pair: Combination) -> RobustnessGate:
    """How much the model's answers hang on the question and on the order of its list; only models that write
    are asked this.
    """
    return RobustnessGate(state_of(request.config), raw_pair, "questioning")


@pytest.fixture
def metamorphic(request: pytest.FixtureRequest, raw_pair: Combination) -> RobustnessGate:
    """How much small changes of the faces matter to the model."""
    return RobustnessGate(state_of(request.config), raw_pair, "metamorphic")


@pytest.fixture
def robustness(request: pytest.FixtureRequest, pair: Combination) -> RobustnessGate:
    """How much worse the pair's answers become on bad pictures."""
    return RobustnessGate(state_of(request.config), pair, "robustness")


@pytest.fixture
def effect(suite: Suite, pair: Combination) -> RestorationEffect:
    """What a restoration does to the model's answers, against the faces as they are."""
    return suite.effects.of(pair)
