"""Cost ratios of one run: times of models as multiples of the reference workload's, and their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fer_models.artifacts.device import describe_machine
from fer_models.classifiers.base import device_of
from fer_models.cost.measurement import multiples_of_reference
from fer_models.cost.other_load import OtherLoad
from fer_models.cost.ratio import MAX_OTHER_LOAD, CostRatio
from fer_models.cost.reference_workload import reference_workload
from fer_models.errors import PredictionError
from fer_models.gate import cost_gate
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.cost_gate import CostVerdict
from fer_models.gate.gate import FAIL, INCONCLUSIVE
from fer_models.images import Face, distinct_shapes
from fer_models.inference.other_process import call_in_new_process
from fer_models.inference.runner import Combination, Runner
from fer_models.third_party_code import wrap_errors
from fer_models.zoo.spec import ModelSpec, Runtime

#: Faces per prediction; rounds of a measurement, of which each is in a new process; and the most measurements
#: of a ratio: a slowdown is measured again before it counts, and a record always has all of them.
FACES, ROUNDS, MEASUREMENTS = 32, 24, 3


def measure(model: ModelSpec, runtime: Runtime, faces: Sequence[Face], rounds: int) -> dict[str, Any]:
    """Load a model, and measure its predictions of some faces in this process.

    Returns:
        `values`, multiples of the time of the reference workload, one per round; `device`, on which the model
        computes; and `other_load`.

    Raises:
        PredictionError: the model fails.
    """
    from fer_models.artifacts.safetensors_io import pick_device  # it imports torch

    with wrap_errors(PredictionError, f"The time of {model.name} cannot be measured"):
        classifier = model.load(runtime)
        device = device_of(classifier) or pick_device(runtime.device).type
        load, reference = OtherLoad(), reference_workload(device)
        values = multiples_of_reference(partial(classifier.predict, list(faces)), reference, rounds)
    return {"values": values, "device": device, "other_load": load.share()}


def measure_in_new_process(
    model: ModelSpec, runtime: Runtime, faces: Sequence[Face], rounds: int
) -> dict[str, Any]:
    """Call `measure` in a new process. Raises as `measure`, and as `call_in_new_process`."""
    return call_in_new_process(measure, model, runtime, faces, rounds)


class CostRatios:
    """The cost ratios that were measured in this run, or by an earlier one with the same code and machine."""

    def __init__(
        self,
        runner: Runner,
        find_record: Callable[[Combination], BaselineRecord | None],
        measure: Callable[..., dict[str, Any]] = measure_in_new_process,
    ) -> None:
        """Those of the models of `runner`.

        Args:
            runner: the run.
            find_record: finds a subject's baseline.
            measure: as `measure_in_new_process`.
        """
        self._runner, self._find_record, self._measure = runner, find_record, measure
        self.verdicts: dict[Combination, CostVerdict] = {}

    def judge(self, combination: Combination, *, only_stored: bool = False) -> CostVerdict | None:
        """Measure and judge the cost ratio of a model without restoration.

        Args:
            combination: the model.
            only_stored: measure nothing.

        Returns:
            The verdict; None where nothing is stored and `only_stored`.

        Raises:
            PredictionError: the model fails.
        """
        combination = Combination(*combination)
        record = self._find_record(combination)
        recorded = None if record is None else record.cost_ratio
        verdict = None
        for measurements in range(1, MEASUREMENTS + 1):
            ratio = self._ratio(combination, measurements, only_stored)
            if ratio is None:  # a slowdown that cannot be measured again does not count
                self.verdicts.pop(combination, None)
                return None
            verdict = self.verdicts[combination] = cost_gate.judge(ratio, recorded)
            if verdict.status not in (FAIL, INCONCLUSIVE):
                break
        return verdict

    def recorded(self, combination: Combination) -> CostRatio | None:
        """The cost ratio for a record; None where it was not measured on a quiet machine.

        Raises as `judge`.
        """
        if Combination(*combination) not in self.verdicts:
            return None
        only_stored = self._runner.options.only_stored_costs
        ratio = self._ratio(Combination(*combination), MEASUREMENTS, only_stored)
        return None if ratio is None or ratio.is_disturbed else ratio

    def _ratio(self, combination: Combination, measurements: int, only_stored: bool) -> CostRatio | None:
        """The ratio of several measurements together; None where one is not stored and `only_stored`."""
        runner, model = self._runner, self._runner.models[combination.model]
        runtime = model.resolve(runner.options.runtime)
        faces = runner.data.faces.faces(range(min(FACES, len(runner.data.faces))))
        values: list[float] = []
        loads: list[float] = []
        device = "cpu"
        for number in range(measurements):
            step = {
                "phase": "cost ratio",
                "identity": model.identity(runner.options.runtime),
                "device": runtime.device,
                "batch": len(faces),
                "shapes": distinct_shapes(faces),
                "rounds": ROUNDS,
                "measurement": number,
            }
            figures = runner.costs.find(step)
            if figures is None and only_stored:
                return None
            figures = figures or self._measured(step, model, runtime, faces)
            values += figures["values"]
            device = figures["device"]
            loads += [] if figures["other_load"] is None else [figures["other_load"]]
        conditions = (len(faces), describe_machine(), device, runtime.precision, runtime.compiled)
        return CostRatio(tuple(values), *conditions, max(loads, default=None))

    def _measured(
        self, step: dict[str, Any], model: ModelSpec, runtime: Runtime, faces: list[Face]
    ) -> dict[str, Any]:
        """Measure, once more where other processes disturbed it, and store it unless they did again."""
        for _ in range(2):
            figures = self._measure(model, runtime, faces, ROUNDS)
            if figures["other_load"] is None or figures["other_load"] <= MAX_OTHER_LOAD:
                self._runner.costs.save(step, figures)
                break
        return figures
