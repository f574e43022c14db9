"""Selection of the tests that run, and the families that they judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fer_models.errors import FerModelsError, WeightsMissingError
from fer_models.evaluation import Requested
from fer_models.inference.runner import Combination
from fer_models.plugin.options import depth_of
from fer_models.plugin.session import parameters
from fer_models.plugin.state import State
from fer_models.report.formatting import seconds as format_seconds
from fer_models.robustness.base import ROBUSTNESS_CHECKS
from fer_models.robustness.checks import Check
from fer_models.time_estimate import estimate
from fer_models.training.recipes import CLIP_NANO, PHI3V_NANO, RECIPES
from fer_models.zoo import restorers
from fer_models.zoo.model_name import TTA, ModelName, Source
from fer_models.zoo.models import FASTEST
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: Fixtures that need the weights of the model, or its stored predictions.
_NEED_WEIGHTS = frozenset(
    {"combination", "raw_combination", "classifier", "load_classifier", "training_record"}
)
#: Fixtures that may need the loaded model although all predictions for the dataset are stored.
_NEED_MODEL = frozenset(
    {
        "classifier",
        "load_classifier",
        "predict",
        "predict_in_float32",
        "predict_alone",
        "input_plausibility",
        "costs",
        "cost_gate",
        "prompt_robustness",
        "question_robustness",
        "metamorphic",
        "robustness",
        "parity_of_speed",
        "training_step",
    }
)
#: Fixtures that compare or show the predictions for the dataset. Robustness checks are judged apart.
_PREDICTIONS = frozenset({"gate", "predictions", "effect"})
#: Fixtures of what `Depth.checks` switches off.
_CHECKS = _NEED_MODEL | {"effect", "audit", "sample", "parity"}
#: Fixtures whose cost in predictions the expected time counts.
_COUNTED = ("robustness", "metamorphic", "question_robustness", "predict", "input_plausibility", "costs")


def deselected(state: State, items: Sequence[pytest.Function]) -> set[pytest.Function]:
    """The tests that do not run.

    They do not apply to their model, the depth leaves them out, or an earlier test reports that the same
    weights are missing.
    """
    removed = {item for item in items if _not_applicable(state, item) or _left_out(state, item)}
    if not state.evaluation.runner.options.depth.all_training_steps:
        steps = [item for item in items if item not in removed and "training_step" in item.fixturenames]
        removed |= set(sorted(steps, key=lambda item: _rank(str(_params(item).get("model"))))[1:])
    missing: set[str] = set()
    for item in items:
        name = None if item in removed else _missing(state, item)
        if name in missing:
            removed.add(item)
        missing |= {name} if name is not None else set()
    return removed


def judged_combinations(items: Sequence[pytest.Function]) -> list[Combination]:
    """The combinations that the gate judges: those whose predictions for the dataset the tests use."""
    combinations = (_combination(item) for item in items if _PREDICTIONS & set(item.fixturenames))
    return [combination for combination in combinations if combination is not None]


def requested(items: Sequence[pytest.Function], config: pytest.Config) -> Requested:
    """The combinations whose accuracy the user wants judged.

    Args:
        items: all that the user selected, also what does not run on this machine.
        config: of the run.
    """
    params = [_params(item) for item in items if "gate" in item.fixturenames]
    named = [p for p in params if {"model", "restoration"} <= p.keys()]
    combinations = frozenset(Combination(p["model"], p["restoration"]) for p in named)
    models, restorations = parameters(config)
    chose_models = any(
        ModelName.parse(name).source is not Source.PYTHON_FILE for name in config.getoption("--model")
    )
    if chose_models or depth_of(config).zoo_models is not None:
        return Requested(combinations)
    complete = frozenset(
        name for name in restorations if all(Combination(model, name) in combinations for model in models)
    )
    return Requested(combinations, complete, complete.issuperset(restorations))


def robustness_checks(items: Sequence[pytest.Function]) -> list[Check]:
    """The robustness checks that the tests need, in the order of the tests."""
    checks: list[Check] = []
    for item in items:
        if (combination := _combination(item)) is not None:
            checks += [Check(kind, combination) for kind in ROBUSTNESS_CHECKS if kind in item.fixturenames]
    return list(dict.fromkeys(checks))


def judged_exports(items: Sequence[pytest.Function]) -> list[Combination]:
    """The exports that the tests compare with their references."""
    return [check.combination for check in robustness_checks(items) if check.kind == "parity"]


def restored_combinations(items: Sequence[pytest.Function]) -> list[Combination]:
    """The combinations whose effect of the restoration the tests use."""
    combinations = (_combination(item) for item in items if "effect" in item.fixturenames)
    return [combination for combination in combinations if combination is not None]


def expected_time(state: State, items: Sequence[pytest.Function]) -> str:
    """A line with the expected time of the tests on this machine; with Ray it is not known."""
    options = state.evaluation.runner.options
    if options.engine == "ray":
        return f"depth {options.depth.name}: predicting with Ray"
    combinations, checks = set(), set()
    for item in items:
        if (combination := _combination(item)) is None:
            continue
        if {"combination", "raw_combination", "effect"} & set(item.fixturenames):
            combinations.add(combination)
        checks |= {Check(kind, combination) for kind in _COUNTED if kind in item.fixturenames}
    seconds = estimate(state.evaluation.runner, sorted(combinations), sorted(checks))
    return (
        f"depth {options.depth.name}: about {format_seconds(float(round(seconds, -1) or 10))} on this machine"
    )


def _params(item: pytest.Function) -> dict[str, Any]:
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def _combination(item: pytest.Function) -> Combination | None:
    """The combination that a test evaluates; None for a test without a model."""
    params = _params(item)
    if "model" not in params:
        return None
    return Combination(params["model"], params.get("restoration", restorers.RAW.name))


def _not_applicable(state: State, item: pytest.Function) -> bool:
    """Whether the test does not apply to its model, or needs a model in a run that loads none."""
    fixtures, params = set(item.fixturenames), _params(item)
    name = params.get("model")
    if state.config.getoption("--cached-only") and _NEED_MODEL & fixtures:
        return True
    if "effect" in fixtures and params.get("restoration") == "raw":
        return True
    return name is not None and _not_for_model(state, fixtures, state.models[name])


def _not_for_model(state: State, fixtures: set[str], model: ModelSpec) -> bool:
    """Whether one of the fixtures does not exist for a model."""
    runtime = state.evaluation.runner.options.runtime
    zero_shot = {"prompt_robustness", "load_zero_shot_classifier"}
    return bool(
        ("cost_gate" in fixtures and not _has_cost_gate(state, model))
        or ("training_step" in fixtures and model.name not in RECIPES)
        or ("training_record" in fixtures and model.name not in (*RECIPES, CLIP_NANO, PHI3V_NANO))
        or (zero_shot & fixtures and not _is_promptable(model))
        or ("question_robustness" in fixtures and not _takes_questions(model))
        or ("input_plausibility" in fixtures and not _has_third_party_input(model))
        or ({"parity", "parity_of_speed"} & fixtures and model.same_as is None)
        or ("predict_in_float32" in fixtures and model.resolve(runtime).precision == "float32")
    )


def _has_cost_gate(state: State, model: ModelSpec) -> bool:
    """Whether the time of a model is recorded, or is to be; that of a server is not the model's."""
    evaluation = state.evaluation
    if evaluation.runner.is_served(model.name):
        return False
    measured = evaluation.baselines.measured
    return state.update or any(r.model == model.name and r.cost_ratio is not None for r in measured)


def _left_out(state: State, item: pytest.Function) -> bool:
    """Whether the depth of the run leaves the test out."""
    runner, fixtures, params = state.evaluation.runner, set(item.fixturenames), _params(item)
    depth, restoration = runner.options.depth, params.get("restoration")
    if not depth.checks and (_CHECKS & fixtures or restoration not in (None, "raw")):
        return True
    combination = _combination(item)
    if combination is None or depth.variant_checks or not (_NEED_MODEL | {"parity"}) & fixtures:
        return False
    return runner.is_variant(combination)


def _missing(state: State, item: pytest.Function) -> str | None:
    """The model or restoration that the test needs and that is not on this machine; None for none."""
    params = _params(item)
    if not _NEED_WEIGHTS & set(item.fixturenames):
        return None
    specs: list[ModelSpec | RestorerSpec] = [state.models[params["model"]]] if "model" in params else []
    specs += [state.restorers[params["restoration"]]] if "restoration" in params else []
    for spec in specs:
        try:
            spec.weights_path()
        except WeightsMissingError:
            return f"{type(spec).__name__} {spec.name}"
        except FerModelsError:  # invalid weights fail their own tests, with a message
            return None
    return None


def _rank(model: str) -> int:
    """The place of a model among the zoo's by time per face; after all of them for others."""
    return FASTEST.index(model) if model in FASTEST else len(FASTEST)


def _is_promptable(model: ModelSpec) -> bool:
    """Whether a zero-shot model takes other prompts for faces that are embedded already."""
    return model.has_embeddings and model.with_prompts is not None


def _takes_questions(model: ModelSpec) -> bool:
    """Whether a vision-language model takes other questions."""
    return model.question is not None and TTA not in ModelName.parse(model.name).variants


def _has_third_party_input(model: ModelSpec) -> bool:
    """Whether a user declared or wrote the preprocessing of the model.

    Zero-shot models bring theirs with their weights, and a variant or fusion has that of its models.
    """
    name = ModelName.parse(model.name)
    is_zero_shot = model.question is not None or _is_promptable(model)
    is_derived = bool(name.variants or model.components)
    return (model.source is not None or name.source is not Source.ZOO) and not (is_zero_shot or is_derived)
