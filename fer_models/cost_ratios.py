"""Cost ratios of one run: times of models as multiples of the reference workload's, and their verdicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fer_models.artifacts.device import describe_machine
from fer_models.cost.measurement import multiples_of_reference
from fer_models.cost.other_load import OtherLoad
from fer_models.cost.ratio import CostRatio
from fer_models.cost.reference_workload import reference_workload
from fer_models.errors import PredictionError
from fer_models.gate import cost_gate
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.cost_gate import CostVerdict
from fer_models.gate.gate import FAIL, INCONCLUSIVE
from fer_models.inference.runner import Combination, Runner
from fer_models.third_party_code import wrap_errors

#: Faces per prediction, and rounds of a measurement. A slowdown is measured again with twice the rounds.
FACES, ROUNDS = 32, 12


class CostRatios:
    """The cost ratios that were measured in this run, or by an earlier one with the same code and machine."""

    def __init__(self, runner: Runner, find_record: Callable[[Combination], BaselineRecord | None]) -> None:
        """Those of the models of `runner`; `find_record` finds a subject's baseline."""
        self._runner, self._find_record = runner, find_record
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
        for rounds in (ROUNDS, 2 * ROUNDS):
            ratio = self._measure(combination, rounds, only_stored)
            if ratio is None:
                break
            verdict = self.verdicts[combination] = cost_gate.judge(ratio, recorded)
            if verdict.status not in (FAIL, INCONCLUSIVE) and not ratio.is_disturbed:
                break
        return verdict

    def recorded(self, combination: Combination) -> CostRatio | None:
        """The cost ratio for a record; None where it was not measured on a quiet machine."""
        verdict = self.verdicts.get(Combination(*combination))
        return None if verdict is None or verdict.now.is_disturbed else verdict.now

    def _measure(self, combination: Combination, rounds: int, only_stored: bool) -> CostRatio | None:
        from fer_models.artifacts.safetensors_io import pick_device  # it imports torch

        runner, model = self._runner, self._runner.models[combination.model]
        runtime = model.resolve(runner.options.runtime)
        faces = runner.data.faces.faces(range(min(FACES, len(runner.data.faces))))
        step = {
            "phase": "cost ratio",
            "identity": model.identity(runner.options.runtime),
            "device": runtime.device,
            "batch": len(faces),
            "rounds": rounds,
        }

        device, figures = pick_device(runtime.device).type, runner.costs.find(step)
        if figures is None and only_stored:
            return None
        if figures is None:
            classifier, load = runner.classifier(model.name), OtherLoad()
            with wrap_errors(PredictionError, f"The time of {model.name} cannot be measured"):
                predict, reference = partial(classifier.predict, faces), reference_workload(device)
                values = multiples_of_reference(predict, reference, rounds)
            figures = {"values": values, "other_load": load.share()}
        conditions = (len(faces), describe_machine(), device, runtime.precision, runtime.compiled)
        ratio = CostRatio(tuple(figures["values"]), *conditions, figures["other_load"])
        if "measured_on" not in figures and not ratio.is_disturbed:
            runner.costs.save(step, figures)
        return ratio
