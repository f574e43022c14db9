"""Which of the collected tests run: those that apply to their model, that the depth includes, and that this
machine can run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
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
from fer_models.zoo.grammar import TTA
from fer_models.zoo.models import FASTEST
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: Fixtures that need the weights of the model, or its stored predictions.
_NEED_WEIGHTS = frozenset({"pair", "raw_pair", "classifier", "load_classifier", "training_record"})
#: Fixtures that may need the loaded model although all predictions for the dataset are stored.
_NEED_MODEL = frozenset(
    {
        "classifier",
        "load_classifier",
        "predict",
        "costs",
        "prompting",
        "questioning",
        "metamorphic",
        "robustness",
    }
)
#: Fixtures that compare or show the predictions for the dataset themselves. Robustness checks have verdicts
#: of their own.
_PREDICTIONS = frozenset({"gate", "predictions", "effect"})
#: Fixtures of what `Depth.checks` switches off.
_CHECKS = _NEED_MODEL | {"effect", "audit", "sample"}
#: Fixtures whose cost in predictions the expected time counts.
_COUNTED = ("robustness", "metamorphic", "questioning", "predict", "costs")


def deselected(state: State, items: Sequence[pytest.Function]) -> set[pytest.Function]:
    """The tests that do not run: not applicable, left out by the depth, or a further test of something that
    is not on this machine.
    """
    gone = {item for item in items if _not_applicable(state, item) or _left_out(state, item)}
    if not state.suite.options.depth.all_training_steps:
        steps = [item for item in items if item not in gone and "training_step" in item.fixturenames]
        gone |= set(sorted(steps, key=lambda item: _rank(str(_params(item).get("model"))))[1:])
    missing: set[str] = set()
    for item in items:
        name = None if item in gone else _missing(state, item)
        if name in missing:
            gone.add(item)
        missing |= {name} if name is not None else set()
    return gone


def predicted_pairs(items: Sequence[pytest.Function]) -> list[Combination]:
    """The (model, restoration) pairs whose predictions for the dataset the tests use: those that the run
    judges.
    """
    params = [_params(item) for item in items if _PREDICTIONS & set(item.fixturenames)]
    return [(p["model"], p.get("restoration", restorers.RAW.name)) for p in params if "model" in p]


def requested(items: Sequence[pytest.Function], config: pytest.Config) -> Requested:
    """The pairs whose accuracy the tests judge.

    Args:
        items: all that the user selected, also what does not run on this machine.
    """
    params = [_params(item) for item in items if "gate" in item.fixturenames]
    pairs = frozenset((p["model"], p["restoration"]) for p in params if {"model", "restoration"} <= p.keys())
    models, restorations = parameters(config)
    chose_models = any(not name.endswith(".py") for name in config.getoption("--model"))
    left_out = chose_models or depth_of(config).zoo_models is not None
    return Requested(pairs, is_everything=not left_out and pairs == set(product(models, restorations)))


def robustness_checks(items: Sequence[pytest.Function]) -> list[Check]:
    """The robustness checks that the tests need, in the order of the tests."""
    found: list[Check] = []
    for item in items:
        if "model" in (params := _params(item)):
            pair = (params["model"], params.get("restoration", restorers.RAW.name))
            found += [(kind, pair) for kind in ROBUSTNESS_CHECKS if kind in item.fixturenames]
    return list(dict.fromkeys(found))


def expected_time(state: State, items: Sequence[pytest.Function]) -> str:
    """A line that says how long the tests will take on this machine."""
    pairs, checks = set(), set()
    for item in items:
        params = _params(item)
        if "model" not in params:
            continue
        pair = (params["model"], params.get("restoration", "raw"))
        if {"pair", "raw_pair", "effect"} & set(item.fixturenames):
            pairs.add(pair)
        checks |= {(kind, pair) for kind in _COUNTED if kind in item.fixturenames}
    seconds = estimate(state.suite, sorted(pairs), sorted(checks))
    depth = state.suite.options.depth.name
    return f"depth {depth}: about {format_seconds(float(round(seconds, -1) or 10))} on this machine"


def _params(item: pytest.Function) -> dict[str, Any]:
    return dict(getattr(getattr(item, "callspec", None), "params", {}))


def _not_applicable(state: State, item: pytest.Function) -> bool:
    """Whether the test is for models of another kind, or needs a model in a run that reads stored predictions
    only.
    """
    wanted, params = set(item.fixturenames), _params(item)
    model = params.get("model")
    if state.config.getoption("--cached-only") and _NEED_MODEL & wanted:
        return True
    return bool(
        ("training_step" in wanted and model not in RECIPES)
        or ("training_record" in wanted and model not in (*RECIPES, CLIP_NANO, PHI3V_NANO))
        or ("effect" in wanted and params.get("restoration") == "raw")
        or (
            {"prompting", "load_zero_shot_classifier"} & wanted
            and not _is_promptable(state.models[str(model)])
        )
        or ("questioning" in wanted and not _takes_questions(state.models[str(model)]))
        or ("predict_in_float32" in wanted and _precision(state, str(model)) == "float32")
    )


def _left_out(state: State, item: pytest.Function) -> bool:
    """Whether the depth of the run leaves the test out."""
    depth, wanted, params = state.suite.options.depth, set(item.fixturenames), _params(item)
    model, restoration = params.get("model"), params.get("restoration")
    if not depth.checks and (_CHECKS & wanted or restoration not in (None, "raw")):
        return True
    if model is None or depth.variant_checks or not _NEED_MODEL & wanted:
        return False
    return state.suite.is_variant((model, restoration or "raw"))


def _missing(state: State, item: pytest.Function) -> str | None:
    """The model or restoration that the test needs and that is not on this machine; None where all is
    here.
    """
    params = _params(item)
    if not _NEED_WEIGHTS & set(item.fixturenames):
        return None
    named: list[ModelSpec | RestorerSpec] = [state.models[params["model"]]] if "model" in params else []
    named += [state.restorers[params["restoration"]]] if "restoration" in params else []
    for spec in named:
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


def _is_promptable(spec: ModelSpec) -> bool:
    """Whether a zero-shot model takes other prompts for faces that are embedded already."""
    return spec.has_embeddings and spec.with_prompts is not None


def _takes_questions(spec: ModelSpec) -> bool:
    """Whether a vision-language model takes other questions."""
    return spec.question is not None and not spec.name.partition("@")[0].endswith(TTA)


def _precision(state: State, model: str) -> str:
    return state.models[model].resolve(state.suite.options.runtime).precision
