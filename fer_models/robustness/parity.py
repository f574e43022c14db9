"""Engine parity in one run: each export next to its reference, on the same faces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fer_models.cost import measurement
from fer_models.gate.parity import Parity, agreement_of
from fer_models.images import distinct_shapes
from fer_models.inference.runner import Combination, Runner
from fer_models.zoo.spec import ModelSpec


def measure(runner: Runner, combination: Combination) -> Parity:
    """Compare an export with its reference. Raises as `References.predict` and `Runner.predict`."""
    export, reference = runner.models[combination.model], runner.references.model(combination)
    after, before = runner.predict(combination), runner.references.predict(combination)
    agreement = agreement_of(before.predictions, after.predictions)
    sizes = _weights_size(reference), _weights_size(export)
    return Parity(
        reference.name, export.quantization, before.predictions, after.predictions, agreement, sizes
    )


def _weights_size(model: ModelSpec) -> int | None:
    path = model.weights_path()
    return None if path is None else measurement.size_in_bytes(path)


def is_available(runner: Runner, combination: Combination) -> bool:
    """Whether this machine can predict with an export and its reference, or has an error to report."""
    return runner.references.is_available(combination)


def interleaved_seconds(
    runner: Runner, combination: Combination, batch: int, *, only_stored: bool = False
) -> Mapping[str, Any] | None:
    """Seconds per face of an export and its reference, timed in turns, stored like all costs.

    Args:
        runner: the run.
        combination: the export.
        batch: the number of faces per forward pass, at most.
        only_stored: measure nothing.

    Returns:
        `seconds_per_face`, `reference_seconds_per_face`, and `measured_on`, a date, if they are stored; None
        where nothing is stored and `only_stored`.
    """
    faces = runner.data.faces.faces(range(min(batch, len(runner.data.faces))))
    runtime, rounds = runner.options.runtime, runner.options.depth.cost_rounds
    export, reference = runner.models[combination.model], runner.references.model(combination)

    def time_both() -> dict[str, float]:
        steps = [
            partial(classifier.predict, faces)
            for classifier in (runner.classifier(export.name), runner.references.classifier(combination))
        ]
        own, other = measurement.interleaved_seconds(steps, rounds)
        return {"seconds_per_face": own / len(faces), "reference_seconds_per_face": other / len(faces)}

    identities = [spec.identity(runtime) for spec in (export, reference)]
    step: dict[str, Any] = {
        "phase": "export and reference",
        "models": identities,
        "batch": len(faces),
        "shapes": distinct_shapes(faces),
        "rounds": rounds,
        "device": runtime.device,
    }
    return runner.costs.find(step) if only_stored else runner.costs.get_or_measure(step, time_both)
