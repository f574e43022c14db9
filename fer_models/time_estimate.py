"""How long a run will take on this machine: the number of predictions that are still missing, times a short
measurement of each model.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from fer_models.errors import FerModelsError
from fer_models.images import Face
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness import corruption_robustness, metamorphic, question_robustness
from fer_models.third_party_code import contained

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
#: Seconds that a run needs for each pair in addition to its predictions (metrics, verdict, page), and in all.
_SECONDS_PER_PAIR, _SECONDS = 0.3, 3.0


def estimate(
    asking: Runner, pairs: Sequence[Combination], checks: Collection[tuple[str, Combination]]
) -> float:
    """Seconds that a run will take, roughly.

    A model whose predictions for the dataset are stored counts as done, though a run of other tests may have
    left its checks out. A model that cannot be loaded, or that a server runs, counts as nothing.

    Args:
        pairs: the (model, restoration) pairs whose predictions the selected tests need.
        checks: (kind, pair) of the other selected tests: `robustness`, `metamorphic`, `questioning`,
            `predict`, `costs`.
    """
    missing = {pair for pair in pairs if _is_missing(asking, pair)}
    faces: dict[str, int] = {}
    for pair in missing:
        faces[pair[0]] = faces.get(pair[0], 0) + len(asking.dataset_of(pair).faces)
    for kind, pair in checks:
        if pair[0] in faces:
            faces[pair[0]] += _check_faces(asking, kind, pair)
    seconds = _SECONDS + _SECONDS_PER_PAIR * len(pairs)
    sample = asking.data.faces.faces(range(min(_FACES, len(asking.data.faces))))
    for model, n in faces.items():
        if (
            asking.models[model].weights is not None or asking.models[model].question is None
        ):  # no server behind it
            seconds += n * _seconds_per_face(lambda: asking.classifier(model).predict, sample)  # noqa: B023 (called at once)
    for restoration in {r for _, r in missing if r != "raw"}:
        n = max(len(asking.dataset_of(p).faces) for p in missing if p[1] == restoration)
        seconds += n * _seconds_per_face(lambda: asking.restorer(restoration).restore, sample)  # noqa: B023 (called at once)
    return seconds


def _is_missing(asking: Runner, pair: Combination) -> bool:
    """Whether predictions for the dataset are missing and can be computed. Invalid weights count as no: their
    own tests report them.
    """
    try:
        return asking.unavailable_reason(pair) is None and bool(asking.partition(pair).missing())
    except FerModelsError:
        return False


def _check_faces(asking: Runner, kind: str, pair: Combination) -> int:
    depth, question = asking.options.depth, asking.models[pair[0]].question
    if kind == "robustness":
        return corruption_robustness.copies(depth.severities) * depth.corruption_limit
    if kind == "metamorphic":
        return metamorphic.COPIES * depth.metamorphic_limit + depth.searched_faces * depth.search_examples
    if kind == "questioning" and question is not None:
        return len(question_robustness.variants(question)) * depth.question_limit
    if kind == "costs":
        return _COST_FACES * (1 + depth.cost_rounds)
    return 2 * depth.control_limit if kind == "predict" else 0


def _seconds_per_face(load: Callable[[], Callable[[Sequence[Face]], Any]], faces: Sequence[Face]) -> float:
    # Whatever a model of the user's raises or warns of, its own tests report it.
    with (
        suppress(FerModelsError),
        contained(FerModelsError, "A model cannot be timed"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        step = load()
        step(faces[:1])  # pays for what is made once
        alone = _timed(step, faces[:1])
        return alone if alone > _SLOW else _LARGE_BATCH * _timed(step, faces) / len(faces)
    return 0.0


def _timed(step: Callable[[Sequence[Face]], Any], faces: Sequence[Face]) -> float:
    started = time.perf_counter()
    step(faces)
    return time.perf_counter() - started
