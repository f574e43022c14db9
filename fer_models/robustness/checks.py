"""The robustness checks of one run: measured once, judged together before the first verdict is given.

What arrives later changes no verdict: a check outside the selection is judged as a family of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from filelock import FileLock, Timeout

from fer_models.errors import FerModelsError, StoreError
from fer_models.gate import robustness_gate
from fer_models.gate.baselines import BaselineRecord
from fer_models.gate.robustness_gate import RobustnessFigure
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness.base import ROBUSTNESS_CHECKS, RobustnessResult

#: The name of a kind in `beside.KINDS`, and a model with its restoration.
Check: TypeAlias = tuple[str, Combination]


class RobustnessRun:
    """Measurements and verdicts by check.

    Attributes:
        measured: the checks that were measured.
    """

    def __init__(self, asking: Runner, record: Callable[[Combination], BaselineRecord | None]) -> None:
        """The checks of the subjects of `asking`; `record` finds a subject's baseline."""
        self._asking, self._record = asking, record
        self.measured: dict[Check, RobustnessResult] = {}
        self._errors: dict[Check, Exception] = {}
        self._selected: tuple[Check, ...] = ()
        self._verdicts: dict[Check, list[RobustnessFigure] | Exception] = {}

    def select(self, checks: Iterable[Check], start: int = 0) -> None:
        """Say which checks the tests of this run need: they are judged together.

        Args:
            start: which of them to measure first; processes that share caches begin at different ones.
        """
        every = list(dict.fromkeys(checks))
        turn = start % len(every) if every else 0
        self._selected = (*every[turn:], *every[:turn])

    def measure(self, kind: str, pair: Combination) -> RobustnessResult:
        """One check, measured once. Raises as `Asking.run`, or whatever the model raised; the same each
        time.
        """
        check = kind, pair
        if check not in self.measured and check not in self._errors:
            try:
                self._asking.predict(
                    pair
                )  # what is recorded of a check is recorded with the predictions for the dataset
                self.measured[check] = ROBUSTNESS_CHECKS[kind].measure(self._asking, pair)
            except Exception as error:
                self._errors[check] = error
        if check in self._errors:
            raise self._errors[check]
        return self.measured[check]

    def verdicts(self, kind: str, pair: Combination) -> list[RobustnessFigure]:
        """The figures of one check, judged together with those of all selected checks that can be measured.

        Raises:
            PredictionError, RestorationError, StoreError, FacesDifferError, BaselinesError: this check cannot
                be judged.
        """
        check = kind, pair
        if check not in self._verdicts and check in self._selected:
            self._judge(self._measure_selected())
        if check not in self._verdicts:
            self._judge([check])
        found = self._verdicts[check]
        if isinstance(found, Exception):
            raise found
        return found

    def judged(self, kind: str, pair: Combination) -> list[RobustnessFigure]:
        """The verdicts of a check that were given already; none where no test needed them."""
        found = self._verdicts.get((kind, pair), [])
        return [] if isinstance(found, Exception) else found

    def unjudged(self) -> dict[Check, Exception]:
        """The checks that could not be judged, and why."""
        return {check: found for check, found in self._verdicts.items() if isinstance(found, Exception)}

    def _measure_selected(self) -> list[Check]:
        """Measure all selected checks that this machine can, in the order of the tests. Errors are kept for
        the checks' own tests.

        What another process measures now comes last: its predictions are cached by then.
        """
        checks = [check for check in self._selected if self._is_available(check)]
        later = [check for check in checks if not self._measured_alone(check, wait=False)]
        if later:
            self._asking.reread_predictions()
        for check in later:
            self._measured_alone(check, wait=True)
        return checks

    def _is_available(self, check: Check) -> bool:
        """Whether this machine has what a check needs. Weights that cannot be read count as available: the
        check itself reports them.
        """
        try:
            return self._asking.unavailable_reason(check[1]) is None
        except FerModelsError:
            return True

    def _measured_alone(self, check: Check, *, wait: bool) -> bool:
        """Measure a check while no other process does; False where another one does and `wait` is off."""
        folder = self._asking.options.predictions.parent / "robustness"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(
                folder / f"{check[0]}-{self._asking.partition(check[1]).key[:16]}.lock",
                timeout=-1 if wait else 0,
            ):
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

    def _judge(self, checks: Iterable[Check]) -> None:
        compared: dict[Check, list[RobustnessFigure]] = {}
        for kind, pair in checks:
            try:
                compared[kind, pair] = self._compared(kind, pair)
            except Exception as error:
                self._verdicts[kind, pair] = error
        judged = iter(robustness_gate.judge([figure for figures in compared.values() for figure in figures]))
        for check, figures in compared.items():
            self._verdicts[check] = [next(judged) for _ in figures]

    def _compared(self, kind: str, pair: Combination) -> list[RobustnessFigure]:
        measured, asking = self.measure(kind, pair), self._asking
        subject, faces, limited = (
            asking.subject(pair).id,
            self.fingerprint(kind, pair),
            asking.data.subset_indices is not None,
        )
        record = self._record(pair)
        return [
            robustness_gate.compare(subject, name, counts, faces, record, limited=limited)
            for name, counts in measured.figures().items()
        ]

    def fingerprint(self, kind: str, pair: Combination) -> str:
        """Of the faces that a check is computed over."""
        return ROBUSTNESS_CHECKS[kind].faces(self._asking, pair).faces.fingerprint

    def recorded(self, pair: Combination) -> tuple[dict[str, float], dict[str, str]]:
        """What a record keeps of the checks of a pair that were measured: `metrics` and `face_counts`."""
        metrics, face_counts = {}, {}
        for (kind, of), measured in self.measured.items():
            if of == pair:
                faces = self.fingerprint(kind, pair)
                for name, counts in measured.figures().items():
                    metrics[name], face_counts[name] = round(counts.value, 6), counts.encode(faces)
        return metrics, face_counts
