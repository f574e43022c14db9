"""Robustness checks of one run: each measured once, all judged together before the first verdict is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from filelock import FileLock, Timeout

from fer_models.errors import StoreError
from fer_models.gate import robustness_gate
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.judge import Judge
from fer_models.gate.robustness_gate import RobustnessFigure
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness.base import ROBUSTNESS_CHECKS, RobustnessResult


class Check(NamedTuple):
    """One robustness check of one combination.

    Attributes:
        kind: a key of `ROBUSTNESS_CHECKS`.
    """

    kind: str
    combination: Combination

    def __str__(self) -> str:
        return f"the check {self.kind} of {self.combination}"


class RobustnessRun:
    """Measurements and verdicts of the robustness checks.

    Attributes:
        measured: the results by check.
        judge: judges the figures of the selected checks as one family.
    """

    def __init__(self, runner: Runner, find_record: Callable[[Combination], BaselineRecord | None]) -> None:
        """The checks of the subjects of `runner`; `find_record` finds a subject's baseline."""
        self._runner, self._find_record = runner, find_record
        self.measured: dict[Check, RobustnessResult] = {}
        self._errors: dict[Check, Exception] = {}
        self.judge: Judge[Check, RobustnessFigure, RobustnessFigure] = Judge(
            self._measure_available, self.compare, robustness_gate.judge
        )

    def measure(self, kind: str, combination: Combination) -> RobustnessResult:
        """The result of one check, measured once.

        Raises:
            Exception: as `Runner.predict`, or whatever the model raised; the same each time.
        """
        combination = Combination(*combination)
        check = Check(kind, combination)
        if check not in self.measured and check not in self._errors:
            try:
                self._runner.predict(combination)  # a check is recorded with the predictions for the dataset
                self.measured[check] = ROBUSTNESS_CHECKS[kind].measure(self._runner, combination)
            except Exception as error:
                self._errors[check] = error
        if check in self._errors:
            raise self._errors[check]
        return self.measured[check]

    def compare(self, check: Check) -> list[RobustnessFigure]:
        """The figures of a check with those of its record, not judged. Raises as `measure`."""
        figures, runner = self.measure(*check).figures(), self._runner
        subject, faces = runner.subject(check.combination).id, self.fingerprint(check)
        limited = (
            runner.data.subset_indices is not None or runner.dataset_of(check.combination) is not runner.data
        )
        record, resamples = self._find_record(check.combination), self._resamples()
        return [
            robustness_gate.compare(
                subject, name, counts, faces, record, limited=limited, resamples=resamples
            )
            for name, counts in figures.items()
        ]

    def _resamples(self) -> int:
        """The resamples of a test of this run: enough for its level."""
        results = [self.measured[check] for check in self.judge.family if check in self.measured]
        return robustness_gate.resamples_for(sum(len(result.figures()) for result in results))

    def verdicts(self, kind: str, combination: Combination) -> list[RobustnessFigure]:
        """The judged figures of a selected check. Raises as `Judge.verdicts` and `measure`."""
        return self.judge.verdicts(Check(kind, Combination(*combination)))

    def results(self) -> list[tuple[Check, RobustnessResult, list[RobustnessFigure]]]:
        """The measured checks with their judged figures; none for a check that no selected test names.

        If anything was measured, the selected checks are judged: no reported figure lacks its verdict.
        """
        outcomes = self.judge.outcomes() if self.measured else {}
        figures = {check: each for check, each in outcomes.items() if not isinstance(each, Exception)}
        return [(check, result, figures.get(check, [])) for check, result in self.measured.items()]

    def errors(self) -> dict[Check, Exception]:
        """The selected checks that could not be judged, and why; none before the first verdict."""
        outcomes = self.judge.given()
        return {check: error for check, error in outcomes.items() if isinstance(error, Exception)}

    def fingerprint(self, check: Check) -> str:
        """The fingerprint of the faces that a check is computed over."""
        faces_of = ROBUSTNESS_CHECKS[check.kind].faces
        return faces_of(self._runner, check.combination).faces.fingerprint

    def recorded(self, combination: Combination) -> tuple[dict[str, float], dict[str, str]]:
        """The `metrics` and `face_counts` of a record: of the measured checks of a combination."""
        metrics, face_counts = {}, {}
        for check, result in self.measured.items():
            if check.combination == combination:
                faces = self.fingerprint(check)
                for name, counts in result.figures().items():
                    metrics[name], face_counts[name] = round(counts.value, 6), counts.encode(faces)
        return metrics, face_counts

    def _measure_available(self, checks: Sequence[Check]) -> list[Check]:
        """Measure the checks that this machine can, and return them; errors are kept for their own tests.

        Those that another process measures at the moment come last: their predictions are cached by then.
        """
        runner, kinds = self._runner, ROBUSTNESS_CHECKS
        available = [check for check in checks if kinds[check.kind].is_available(runner, check.combination)]
        postponed = [check for check in available if not self._measure_locked(check, wait=False)]
        if postponed:
            self._runner.reread_predictions()
        for check in postponed:
            self._measure_locked(check, wait=True)
        return available

    def _measure_locked(self, check: Check, *, wait: bool) -> bool:
        """Measure a check while no other process does; False where another one does and `wait` is off."""
        folder = self._runner.options.caches / "robustness"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{check.kind}-{self._runner.partition(check.combination).key[:16]}.lock"
            with FileLock(folder / name, timeout=-1 if wait else 0):
                self.measure(*check)
        except Timeout:
            return False
        except OSError as error:
            self._errors[check] = StoreError(
                f"{folder} cannot be written ({error.strerror}). Free some space or choose --store FOLDER."
            )
        except Exception as error:
            self._errors.setdefault(check, error)
        return True
