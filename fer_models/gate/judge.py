"""Judge of one family of comparisons: all of them together, before the first verdict is given."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from fer_models.errors import UsageError

_Key = TypeVar("_Key", bound=Hashable)
_Comparison = TypeVar("_Comparison")
_Verdict = TypeVar("_Verdict")


class Judge(Generic[_Key, _Comparison, _Verdict]):
    """Verdicts on the members of a family, such as the selected combinations of a run.

    The p-values of a family are adjusted for its size, so a verdict depends on the family. Nothing can join
    the family after its first verdict, and what is not a member has no verdict.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[_Key]], Sequence[_Key]],
        compare: Callable[[_Key], Sequence[_Comparison]],
        judge: Callable[[Sequence[_Comparison]], Sequence[_Verdict]],
    ) -> None:
        """Nothing is computed before the first verdict.

        Args:
            prepare: predicts or measures the members, and returns those that this machine can judge.
            compare: the comparisons of a member with its record. What it raises becomes the member's error.
            judge: one verdict per comparison of the family, in their order.
        """
        self._prepare, self._compare, self._judge = prepare, compare, judge
        self._family: tuple[_Key, ...] = ()
        self._start = 0
        self._outcomes: dict[_Key, list[_Verdict] | Exception] | None = None

    @property
    def family(self) -> tuple[_Key, ...]:
        """The members, whether or not this machine can judge them."""
        return self._family

    def select(self, family: Iterable[_Key], start: int = 0) -> None:
        """Set the members of the family. Call it before the first verdict.

        Args:
            family: the members; each counts once.
            start: which of them to prepare first; processes that share a store begin at different ones.
        """
        if self._outcomes is not None:
            raise RuntimeError("The family was judged already; it cannot change.")
        self._family, self._start = tuple(dict.fromkeys(family)), start

    def verdicts(self, key: _Key) -> list[_Verdict]:
        """The verdicts on a member. The first call judges the family.

        Raises:
            UsageError: it is not a member, or this machine cannot judge it.
            Exception: what its comparison raised; the same each time.
        """
        if key not in self._family:
            raise UsageError(f"{key} has no verdict: no selected test has it among its gate or predictions.")
        outcome = self.outcomes().get(key)
        if outcome is None:
            raise UsageError(f"{key} has no verdict: it is not available on this machine.")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def outcomes(self) -> dict[_Key, list[_Verdict] | Exception]:
        """The verdicts of each member, or the error of its comparison. The first call judges the family."""
        if self._outcomes is None:
            self._outcomes = self._judged()
        return self._outcomes

    def given(self) -> dict[_Key, list[_Verdict] | Exception]:
        """The outcomes if the family was judged already; none otherwise."""
        return self._outcomes or {}

    def _judged(self) -> dict[_Key, list[_Verdict] | Exception]:
        start = self._start % len(self._family) if self._family else 0
        members = set(self._prepare((*self._family[start:], *self._family[:start])))
        comparisons: dict[_Key, Sequence[_Comparison]] = {}
        errors: dict[_Key, list[_Verdict] | Exception] = {}
        for key in self._family:  # in their own order, whichever was prepared first
            if key in members:
                try:
                    comparisons[key] = self._compare(key)
                except Exception as error:
                    errors[key] = error
        verdicts = iter(self._judge([one for several in comparisons.values() for one in several]))
        return errors | {key: [next(verdicts) for _ in several] for key, several in comparisons.items()}
