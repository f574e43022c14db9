"""Expected time of a run: the number of missing predictions, times a short measurement of each model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from fer_models.cost.measurement import seconds_of
from fer_models.errors import FerModelsError
from fer_models.images import Face
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness import corruption_robustness, input_format, metamorphic, question_robustness
from fer_models.robustness.checks import Check
from fer_models.third_party_code import wrap_errors

_Step = Callable[[Sequence[Face]], Any]
#: Faces in the measurement of a model; one that needs more than `_SLOW` seconds for a face is measured on
#: that face alone.
_FACES, _SLOW = 4, 1.0
#: A face in a large batch takes about this share of its time in so small a batch. It and the next constants
#: are chosen so that the expected time of a standard run was near its time on two cores (40 to 60 s for 46 s;
#: a full run: 370 s for 271 s).
_LARGE_BATCH = 0.65
#: Faces that the cost checks of one model predict, per round and once more for the warm-up: a batch, and
#: single faces.
_COST_FACES = 40
#: Seconds for each combination in addition to its predictions (metrics, verdict, page), and for a run.
_SECONDS_PER_COMBINATION, _SECONDS = 0.3, 3.0


def estimate(runner: Runner, combinations: Sequence[Combination], checks: Collection[Check]) -> float:
    """Seconds that a run will take, roughly.

    A model whose predictions for the dataset are stored counts as done, though a run of other tests may have
    left its checks out. A model that cannot be loaded, or that a server runs, counts as nothing.

    Args:
        runner: the subjects of the run.
        combinations: those whose predictions the selected tests need.
        checks: the other selected tests, of the kinds `robustness`, `metamorphic`, `question_robustness`,
            `predict`, `input_plausibility` and `costs`.
    """
    missing = {
        part
        for combination in combinations
        if _is_missing(runner, combination)
        for part in _parts(runner, combination)
    }
    faces: dict[str, int] = {}
    for combination in missing:
        model = combination.model
        faces[model] = faces.get(model, 0) + len(runner.dataset_of(combination).faces)
    for kind, combination in checks:
        if combination.model in faces:
            faces[combination.model] += _check_faces(runner, kind, combination)
    sample = runner.data.faces.faces(range(min(_FACES, len(runner.data.faces))))
    seconds = _SECONDS + _SECONDS_PER_COMBINATION * len(combinations)
    for model, n in faces.items():
        if not runner.is_served(model):
            seconds += n * _seconds_per_face(partial(_predictor, runner, model), sample)
    for restoration in {r for _, r in missing if r != "raw"}:
        n = max(len(runner.dataset_of(c).faces) for c in missing if c.restoration == restoration)
        seconds += n * _seconds_per_face(partial(_restorer, runner, restoration), sample)
    return seconds


def _parts(runner: Runner, combination: Combination) -> list[Combination]:
    """What must be predicted for a combination: of a fusion its missing components, which it only pools."""
    model = runner.models[combination.model]
    if not model.is_fusion or any(part.name not in runner.models for part in model.components):
        return [combination]
    parts = [Combination(part.name, combination.restoration) for part in model.components]
    return [part for part in parts if _is_missing(runner, part)]


def _predictor(runner: Runner, model: str) -> _Step:
    # A network is compiled for the shape of its first batch, which must not be that of an estimate.
    plain = replace(runner.options.runtime, compiled=False)
    return runner.load_model(runner.models[model], plain).predict


def _restorer(runner: Runner, restoration: str) -> _Step:
    return runner.restorer(restoration).restore


def _is_missing(runner: Runner, combination: Combination) -> bool:
    """Whether predictions for the dataset are missing and can be computed.

    Invalid weights count as no: their own tests report them.
    """
    try:
        return runner.unavailable_reason(combination) is None and bool(
            runner.partition(combination).missing()
        )
    except FerModelsError:
        return False


def _check_faces(runner: Runner, kind: str, combination: Combination) -> int:
    """The number of predictions that a check needs."""
    depth, question = runner.options.depth, runner.models[combination.model].question
    if kind == "robustness":
        return corruption_robustness.copies(depth.severities) * depth.corruption_limit
    if kind == "metamorphic":
        return metamorphic.COPIES * depth.metamorphic_limit + depth.searched_faces * depth.search_examples
    if kind == "question_robustness" and question is not None:
        return len(question_robustness.variants(question)) * depth.question_limit
    if kind == "costs":
        return _COST_FACES * (1 + depth.cost_rounds)
    if kind == "input_plausibility":
        return input_format.FACES * (1 + input_format.MOST_ALTERNATIVES)
    return 2 * depth.control_limit if kind == "predict" else 0


def _seconds_per_face(load: Callable[[], _Step], faces: Sequence[Face]) -> float:
    """Seconds per face of the step that `load` returns; 0 where it fails, which its own tests report."""
    with (
        suppress(FerModelsError),
        wrap_errors(FerModelsError, "A model cannot be timed"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        step = load()
        step(faces[:1])  # a warm-up
        alone = seconds_of(partial(step, faces[:1]))
        return alone if alone > _SLOW else _LARGE_BATCH * seconds_of(partial(step, faces)) / len(faces)
    return 0.0
