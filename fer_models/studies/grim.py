"""Can a published accuracy be true, and where does it lie? Questions that need nothing but the number itself.

An accuracy on n faces is k / n for some integer k. Rounded as it was published, it either is one of these n +
1 values or it was not measured on n faces. All arithmetic is of integers: 100 * k / n as a float would be
wrong at the very halves that decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fer_models.datasets.fer2013_rows import OFFICIAL
from fer_models.errors import UnknownNameError, UsageError

#: Per cent that single models reach on FER-2013's official test splits: reproductions of the Residual Masking
#: Network got 65.7 to 73.6 (issue 9 of phamquiluan/ResidualMaskingNetwork), its README says 74.14, and the
#: VGGs and ResNets in the same table lie between. In whole points.
CLEAN_RANGE = (66, 74)
#: The best published result of an ensemble, in per cent: the Residual Masking Network and six others (the
#: same README).
BEST_PUBLISHED = Decimal("76.82")
#: The sizes on which a FER-2013 result without a stated size may stand. 7,178 is also a fifth of all 35,887
#: faces, rounded up as random splits are.
OFFICIAL_SIZES = {3589: "one official test split", 7178: "both together, or a random fifth of all faces"}

_TESTS = ("private_test", "public_test", "test")
# More decimals than anyone publishes; the bound keeps the integers small.
_FORM = re.compile(r"(\d{0,3})(?:\.(\d{1,10}))?\s*(%?)", re.ASCII)


@dataclass(frozen=True)
class Claim:
    """A published accuracy as it was rounded: `digits` / 10 ** `places` of all faces.

    Attributes:
        digits: an integer in 0..10 ** places.
        places: decimals of the share, two more than of the per cent; at least 0.
    """

    digits: int
    places: int

    @property
    def share(self) -> Fraction:
        """The claim in [0, 1], exactly."""
        return Fraction(self.digits, 10**self.places)

    @property
    def percent(self) -> str:
        """`86.44`, with the decimals that were claimed."""
        return f"{Decimal(self.digits).scaleb(2 - self.places):f}"


@dataclass(frozen=True)
class ClaimCheck:
    """What a claim is worth on n faces.

    Attributes:
        claim: what was claimed.
        n: how many faces it is said to stand on.
        k: every number of right answers that rounds to the claim; normally one, none if it is impossible.
        allowed: the share of all claims with so many decimals that n faces allow, in (0, 1]; near 1,
            `possible` proves nothing.
        chance: the share of the most frequent emotion in each official split that may be meant, by split, in
            (0, 1).
        band: where the claim lies among what is known of FER-2013.
    """

    claim: Claim
    n: int
    k: range
    allowed: float
    chance: Mapping[str, float]
    plausibility: str

    @property
    def possible(self) -> bool:
        """Whether n faces can give this accuracy."""
        return len(self.k) > 0

    @property
    def nearest(self) -> tuple[tuple[int, str], ...]:
        """If it is impossible: the number of right answers below and above it, each with its per cent,
        rounded as the claim is.
        """
        if self.possible:
            return ()
        below = self.claim.digits * self.n // 10**self.claim.places
        return tuple((k, _rounded(k, self.n, self.claim.places).percent) for k in (below, below + 1))

    def as_json(self) -> dict[str, Any]:
        """Plain values; shares are in per cent, `k` is the first and the last number of right answers, or
        null.
        """
        return {
            "claim": float(self.claim.percent),
            "n": self.n,
            "possible": self.possible,
            "k": [self.k[0], self.k[-1]] if self.possible else None,
            "nearest": [{"k": k, "percent": float(percent)} for k, percent in self.nearest],
            "allowed": round(100 * self.allowed, 2),
            "chance": {split: round(100 * share, 2) for split, share in self.chance.items()},
            "clean_range": list(CLEAN_RANGE),
            "best_published": float(BEST_PUBLISHED),
            "band": self.plausibility,
        }


def parse(text: str) -> Claim:
    """The accuracy in a text: `86.44`, `86.44%`, or a share such as `0.8644`.

    A number of at most 1 with a decimal point and without `%` is a share; `1` is one per cent.

    Raises:
        UsageError: it is no number, is outside 0..100 %, or has more than ten decimals.
    """
    found = _FORM.fullmatch(text.strip())
    whole, decimals, sign = found.groups(default="") if found else ("", "", "")
    if whole or decimals:
        digits, places = int(whole + decimals), len(decimals)
        if not decimals or sign or digits > 10**places:  # per cent
            places += 2
        if digits <= 10**places:
            return Claim(digits, places)
    raise UsageError(
        f"The claim {text!r} is no accuracy. Give per cent from 0 to 100, such as 86.44 or 86.44%, or a share, such as 0.8644, "
        "with at most 10 decimals."
    )


def check(claim: Claim, n: int, split: str | None = None) -> ClaimCheck:
    """Whether `claim` is possible on `n` faces, and where it lies.

    Args:
        claim: see `parse`.
        n: the number of faces.
        split: which official split of FER-2013 is meant, where n alone does not tell.

    Raises:
        UnknownNameError: no such split.
        UsageError: `n` is under 1, or is not the size of `split`.
    """
    if n < 1:
        raise UsageError(
            f"An accuracy stands on at least one face, got n = {n}. Give the size of the test set: --n 3589"
        )
    chance = _chance(n, split)
    return ClaimCheck(
        claim,
        n,
        _right_answers(claim, n),
        _allowed(n, claim.places),
        {s: float(c) for s, c in chance.items()},
        _plausibility(claim, chance),
    )


def annotate(published: Mapping[str, Any]) -> dict[str, Any]:
    """A published record of `baselines.json` with one sentence more, `check`: whether its accuracy is
    possible, and where it lies.

    Args:
        published: `accuracy` is a share with at least four decimals, of which JSON leaves out the zeros at
            the end; without it nothing is added. `n` may be null: then the official sizes are tried. The band
            is added for `dataset` fer2013 only.
    """
    if published.get("accuracy") is None:
        return dict(published)
    return {
        **published,
        "check": _sentence(published["accuracy"], published.get("n"), published.get("dataset") == "fer2013"),
    }


def _sentence(accuracy: Any, n: Any, fer2013: bool) -> str:
    claim = _stored(accuracy)
    if claim is None:
        return f"The accuracy {accuracy!r} is no share in 0..1, so it cannot be checked."
    if n is None and not fer2013:
        return "No size is given, so it cannot be checked."
    if n is not None and not _is_count(n):
        return f"The size {n!r} is no number of faces, so it cannot be checked."
    found = _on_official_sizes(claim) if n is None else _answer(check(claim, n))
    return f"{found}; {_plausibility(claim, _chance(n, None))}." if fer2013 else f"{found}."


def _on_official_sizes(claim: Claim) -> str:
    fits = [f"{n:,} faces ({what})" for n, what in OFFICIAL_SIZES.items() if _right_answers(claim, n)]
    others = " and on ".join(f"{n:,}" for n in OFFICIAL_SIZES if not _right_answers(claim, n))
    if not fits:
        return f"No size is given; impossible on {others} faces"
    return (
        f"No size is given; possible on {' and on '.join(fits)}{', impossible on ' if others else ''}{others}"
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _answer(found: ClaimCheck) -> str:
    if found.possible:
        return f"Possible: {_counts(found)} of {found.n:,} faces"
    (below, low), (above, high) = found.nearest
    return f"Impossible on {found.n:,} faces: the nearest are {below:,} right, {low} %, and {above:,} right, {high} %"


def _counts(found: ClaimCheck) -> str:
    return f"{found.k[0]:,}" if len(found.k) == 1 else f"{found.k[0]:,} to {found.k[-1]:,}"


def describe(found: ClaimCheck) -> list[str]:
    """The check in words: whether it is possible, what that proves, where it lies, what chance is."""
    answer = _answer(found)
    proof = (
        "the fewer, the more a possible one proves" if found.allowed < 1 else "a possible one proves nothing"
    )
    chance = ", ".join(f"{100 * share:.2f} % on {split}" for split, share in found.chance.items())
    foreign = (
        ""
        if any(sum(OFFICIAL[split]) == found.n for split in found.chance)
        else f"; none of them has {found.n:,} faces"
    )
    return [
        f"{found.claim.percent} %: {answer[0].lower()}{answer[1:]}.",
        f"{found.n:,} faces allow {100 * found.allowed:.3g} % of all claims with that many decimals: {proof}.",
        f"It lies {found.plausibility}. Clean single models reach {CLEAN_RANGE[0]}-{CLEAN_RANGE[1]} % on the official tests of FER-2013, "
        f"the best published ensemble {BEST_PUBLISHED} %.",
        f"Always naming the most frequent emotion gives {chance}{foreign}.",
    ]


def _stored(accuracy: Any) -> Claim | None:
    """The claim behind a share in JSON; None if it is none."""
    if not isinstance(accuracy, (int, float)) or isinstance(accuracy, bool) or not 0 <= accuracy <= 1:
        return None
    exact = Decimal(repr(accuracy))
    exponent = exact.as_tuple().exponent
    places = max(4, -exponent) if isinstance(exponent, int) else 4
    return Claim(int(exact.scaleb(places)), places)


def _right_answers(claim: Claim, n: int) -> range:
    """All k in 0..n with |k / n - claim| of at most half a unit of the claim's last decimal: an exact half
    may have been rounded either way.
    """
    unit = 10**claim.places
    low, high = -(-(2 * claim.digits - 1) * n // (2 * unit)), (2 * claim.digits + 1) * n // (2 * unit)
    return range(max(0, low), min(n, high) + 1)


def _rounded(k: int, n: int, places: int) -> Claim:
    return Claim((2 * k * 10**places + n) // (2 * n), places)


def _allowed(n: int, places: int) -> float:
    """Of the 10 ** places + 1 claims there are, each of the n + 1 accuracies makes one possible (two at an
    exact half, not counted here).
    """
    return min(1.0, float(Fraction(n + 1, 10**places + 1)))


def _chance(n: int | None, split: str | None) -> dict[str, Fraction]:
    """The majority share of `split`, else of the splits with n faces, else of every test split: about a
    quarter on each.
    """
    if split is not None:
        if split not in OFFICIAL:
            raise UnknownNameError("split of fer2013", split, OFFICIAL)
        if sum(OFFICIAL[split]) != n:
            raise UsageError(
                f"fer2013/{split} has {sum(OFFICIAL[split])} faces, not {n}. Give --n {sum(OFFICIAL[split])}, or leave --split out."
            )
    sized = [split] if split else [name for name, counts in OFFICIAL.items() if sum(counts) == n]
    return {name: Fraction(max(OFFICIAL[name]), sum(OFFICIAL[name])) for name in sorted(sized) or _TESTS}


def _plausibility(claim: Claim, chance: Mapping[str, Fraction]) -> str:
    percent = 100 * claim.share
    if claim.share < min(chance.values()):
        return "under chance"
    if percent < CLEAN_RANGE[0]:
        return "between chance and the clean range"
    if percent <= CLEAN_RANGE[1]:
        return "in the clean range"
    if percent <= Fraction(BEST_PUBLISHED):
        return f"above the clean range: within the best published ensemble ({BEST_PUBLISHED})"
    return "above every clean published result"
