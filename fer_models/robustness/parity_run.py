"""Verdicts on the exports of one run: all judged together, before the first verdict is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fer_models.gate import gate, parity
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.judge import Judge
from fer_models.gate.parity import Parity, ParityVerdict
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness.checks import Check, RobustnessRun
from fer_models.robustness.parity import interleaved_seconds, is_available
from fer_models.scoring.metrics import Metrics, measure_predictions

#: Faces per forward pass of a timing.
BATCH = 32


class ParityRun:
    """Parity of the exports of one run.

    Attributes:
        judge: judges accuracy, macro-F1 and recalls of the selected exports as one family.
    """

    def __init__(
        self,
        runner: Runner,
        robustness: RobustnessRun,
        metrics_of: Callable[[Combination], Metrics],
        find_record: Callable[[Combination], BaselineRecord | None],
    ) -> None:
        """Nothing is predicted before the first verdict.

        Args:
            runner: predicts exports and references.
            robustness: measures each export once, and judges its disagreement against its record.
            metrics_of: the metrics of an export.
            find_record: finds the baseline of an export.
        """
        self._runner, self._robustness = runner, robustness
        self._metrics_of, self._find_record = metrics_of, find_record
        self._seconds: dict[Combination, Mapping[str, Any]] = {}
        self.judge: Judge[Combination, gate.GateComparison, gate.Verdict] = Judge(
            self._available, self._compare, gate.judge
        )

    def verdict(self, combination: Combination) -> ParityVerdict:
        """The verdict on a selected export. The first call judges all of them.

        Raises:
            UsageError: it was not selected, or its reference is not known.
            Exception: as `RobustnessRun.measure`.
        """
        combination = Combination(*combination)
        (paired,) = self.judge.verdicts(combination)
        measured = self.measured(combination)
        (recorded,) = self._robustness.compare(Check("parity", combination))
        problem = None
        if not parity.is_accepted(recorded.baseline):
            problem = parity.check_agreement(measured.agreement, measured.reference, measured.quantization)
        return ParityVerdict(measured, paired, problem)

    def measured(self, combination: Combination) -> Parity:
        """The export next to its reference, measured once. Raises as `RobustnessRun.measure`."""
        result = self._robustness.measure("parity", combination)
        assert isinstance(result, Parity)
        return result

    def measure_seconds(
        self, combination: Combination, batch: int = BATCH, *, only_stored: bool = False
    ) -> None:
        """Measure the seconds per face of an export and its reference, for `seconds`.

        Args:
            combination: the export.
            batch: as in `parity.interleaved_seconds`.
            only_stored: use a stored measurement, and measure nothing.
        """
        found = interleaved_seconds(self._runner, combination, batch, only_stored=only_stored)
        if found is not None:
            self._seconds[Combination(*combination)] = found

    def seconds(self, combination: Combination) -> Mapping[str, Any]:
        """What `measure_seconds` measured in this run, or what is stored; empty for neither."""
        combination = Combination(*combination)
        if combination not in self._seconds:
            self.measure_seconds(combination, BATCH, only_stored=True)
        return self._seconds.get(combination, {})

    def _available(self, combinations: Sequence[Combination]) -> list[Combination]:
        return [combination for combination in combinations if is_available(self._runner, combination)]

    def _compare(self, combination: Combination) -> list[gate.GateComparison]:
        measured, resamples = self.measured(combination), gate.resamples_for(len(self.judge.family))
        reference = measured.before, measure_predictions(measured.before)
        export = measured.after, self._metrics_of(combination)
        subject = self._runner.subject(combination)
        return [parity.compare(subject, reference, export, resamples=resamples)]
