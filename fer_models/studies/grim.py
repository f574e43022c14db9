"""GRIM check of published accuracies: whether a number is possible on n faces, and where it lies.

An accuracy on n faces is k / n for some integer k. Rounded as it was published, or cut off after its last
digit, it is one of these n + 1 values, or no accuracy of one run on n faces; a mean of several runs can be
any number. All arithmetic is of integers: 100 * k / n as a float would be wrong exactly at the halves, where
rounding matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fer_models.datasets.fer2013_rows import OFFICIAL
from fer_models.errors import UnknownNameError, UsageError

#: Per cent of single networks that were trained on FER-2013, and whose sources state an official test split:
#: reproductions of the Residual Masking Network reached 65.7 to 73.6 (issue 9 of
#: phamquiluan/ResidualMaskingNetwork), its README has 74.14, and the VGGs and ResNets in the same table are
#: between.
SINGLE_NETWORKS = (Decimal("65.7"), Decimal("74.14"))
#: The best ensemble whose source states an official test split, in per cent: the Residual Masking Network and
#: six others (the same README).
BEST_ENSEMBLE = Decimal("76.82")
#: The probable test sizes of a FER-2013 result without a stated size: these are also a tenth and a fifth of
#: all 35,887 faces, rounded up as random splits are.
OFFICIAL_SIZES = {
    3589: "one official test split, or a random tenth of all faces",
    7178: "both official test splits, or a random fifth",
}

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
        """Exact claim in [0, 1]."""
        return Fraction(self.digits, 10**self.places)

    @property
    def percent(self) -> str:
        """Claim in per cent, with its decimals: `86.44`."""
        return f"{Decimal(self.digits).scaleb(2 - self.places):f}"


@dataclass(frozen=True)
class ClaimCheck:
    """Check of a claim on n faces.

    Attributes:
        claim: the published accuracy.
        n: the number of faces it is claimed for.
        k: every number of correct predictions that rounds to the claim; normally one or none.
        k_cut: every number that gives the claim where its further digits are cut off.
        allowed: the share of all claims with so many decimals that n faces allow if rounded, in (0, 1]; near
            1, `possible` proves nothing.
        allowed_or_cut: the same if rounded or cut off, in (0, 1].
        chance: the share of the most frequent emotion in each official split that may be meant, by split, in
            (0, 1).
        plausibility: where the claim lies among published results on FER-2013.
    """

    claim: Claim
    n: int
    k: range
    k_cut: range
    allowed: float
    allowed_or_cut: float
    chance: Mapping[str, float]
    plausibility: str

    @property
    def possible(self) -> bool:
        """Whether one run on n faces can have this accuracy, rounded or cut off."""
        return len(self.k) > 0 or len(self.k_cut) > 0

    @property
    def nearest(self) -> tuple[tuple[int, str], ...]:
        """Nearest numbers of correct predictions of an impossible claim, each with its per cent."""
        if self.possible:
            return ()
        below = self.claim.digits * self.n // 10**self.claim.places
        return tuple((k, _rounded(k, self.n, self.claim.places).percent) for k in (below, below + 1))

    def as_json(self) -> dict[str, Any]:
        """Return plain values; shares are in per cent, `k` and `k_cut` the first and last possible number."""
        return {
            "claim": float(self.claim.percent),
            "n": self.n,
            "possible": self.possible,
            "k": [self.k[0], self.k[-1]] if self.k else None,
            "k_cut": [self.k_cut[0], self.k_cut[-1]] if self.k_cut else None,
            "nearest": [{"k": k, "percent": float(percent)} for k, percent in self.nearest],
            "allowed": round(100 * self.allowed, 2),
            "allowed_or_cut": round(100 * self.allowed_or_cut, 2),
            "chance": {split: round(100 * share, 2) for split, share in self.chance.items()},
            "single_networks": list(map(float, SINGLE_NETWORKS)),
            "best_ensemble": float(BEST_ENSEMBLE),
            "plausibility": self.plausibility,
        }


def parse(text: str) -> Claim:
    """Parse an accuracy: `86.44`, `86.44%`, or a share such as `0.8644`.

    A number of at most 1 with a decimal point and without `%` is a share; `1` is one per cent.

    Raises:
        UsageError: it is no number, is outside 0..100 %, or has more than ten decimals.
    """
    match = _FORM.fullmatch(text.strip())
    integer, decimals, sign = match.groups(default="") if match else ("", "", "")
    if integer or decimals:
        digits, places = int(integer + decimals), len(decimals)
        if not decimals or sign or digits > 10**places:  # per cent
            places += 2
        if digits <= 10**places:
            return Claim(digits, places)
    raise UsageError(
        f"The claim {text!r} is no accuracy. Give per cent from 0 to 100, such as 86.44 or 86.44%, "
        "or a share, such as 0.8644, with at most 10 decimals."
    )


def check(claim: Claim, n: int, split: str | None = None) -> ClaimCheck:
    """Check whether `claim` is possible on `n` faces, and where it lies.

    Args:
        claim: see `parse`.
        n: the number of faces.
        split: the official split of FER-2013, where n alone is ambiguous.

    Raises:
        UnknownNameError: no such split.
        UsageError: `n` is under 1, or is not the size of `split`.
    """
    if n < 1:
        raise UsageError(
            f"An accuracy is computed over at least one face, got n = {n}. "
            "Give the size of the test set: --n 3589"
        )
    chance = _chance(n, split)
    shares = {name: float(share) for name, share in chance.items()}
    counts, cut = _counts(claim, n), _cut_counts(claim, n)
    allowed = _allowed(n, claim.places)
    return ClaimCheck(claim, n, counts, cut, *allowed, shares, _plausibility(claim, chance))


def annotate(published: Mapping[str, Any]) -> dict[str, Any]:
    """Add the sentence `check` to a published record of `baselines.json`.

    Args:
        published: `accuracy` is a share with at least four decimals, of which JSON omits the zeros at the
            end; without it nothing is added. `n` may be null: then the official sizes are tried. The
            plausibility is added for `dataset` fer2013 only.
    """
    accuracy = published.get("accuracy")
    if accuracy is None:
        return dict(published)
    check = _sentence(accuracy, published.get("n"), published.get("dataset") == "fer2013")
    return {**published, "check": check}


def _sentence(accuracy: Any, n: Any, fer2013: bool) -> str:
    claim = _from_json(accuracy)
    if claim is None:
        return f"The accuracy {accuracy!r} is no share in 0..1, so it cannot be checked."
    if n is None and not fer2013:
        return "No size is given, so it cannot be checked."
    if n is not None and not _is_count(n):
        return f"The size {n!r} is no number of faces, so it cannot be checked."
    result = _on_official_sizes(claim) if n is None else _result(check(claim, n))
    return f"{result}; {_plausibility(claim, _chance(n, None))}." if fer2013 else f"{result}."


def _on_official_sizes(claim: Claim) -> str:
    rounded = [n for n in OFFICIAL_SIZES if _counts(claim, n)]
    cut = [n for n in OFFICIAL_SIZES if n not in rounded and _cut_counts(claim, n)]
    parts = {
        "possible on": " and on ".join(f"{n:,} faces ({OFFICIAL_SIZES[n]})" for n in rounded),
        "possible only if cut off, not rounded, on": " and on ".join(f"{n:,} faces" for n in cut),
        "impossible on": " and on ".join(
            f"{n:,} faces" for n in OFFICIAL_SIZES if n not in rounded and n not in cut
        ),
    }
    return f"No size is given; {', '.join(f'{words} {sizes}' for words, sizes in parts.items() if sizes)}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _result(checked: ClaimCheck) -> str:
    n, k = checked.n, checked.k or checked.k_cut
    if checked.possible:
        count = f"{k[0]:,}" if len(k) == 1 else f"{k[0]:,} to {k[-1]:,}"
        way = "" if checked.k else " only if cut off, not rounded"
        return f"Possible{way}: {count} of {n:,} faces"
    (below, low), (above, high) = checked.nearest
    nearest = f"{below:,} correct, {low} %, and {above:,} correct, {high} %"
    return f"Impossible on {n:,} faces: the nearest are {nearest}"


def describe(checked: ClaimCheck) -> list[str]:
    """Describe a check in sentences: whether it is possible, what that proves, where it lies, chance."""
    n, result = checked.n, _result(checked)
    either = f"{100 * checked.allowed_or_cut:.3g} % if rounded or cut off"
    shares = f"{100 * checked.allowed:.3g} % if rounded, {either}"
    if checked.allowed == 1:
        proof = "a possible one proves nothing"
    elif checked.allowed_or_cut == 1:
        proof = "one that is possible only if cut off proves nothing"
    else:
        proof = "the fewer, the more a possible one proves"
    chance = ", ".join(f"{100 * share:.2f} % on {split}" for split, share in checked.chance.items())
    is_official = any(sum(OFFICIAL[split]) == n for split in checked.chance)
    suffix = "" if is_official else f"; none of them has {n:,} faces"
    low, high = SINGLE_NETWORKS
    return [
        f"{checked.claim.percent} %: {result[0].lower()}{result[1:]}.",
        f"{n:,} faces allow these shares of all claims with that many decimals: {shares}; {proof}.",
        f"It is {checked.plausibility}. Of the networks trained on FER-2013 whose sources state an official "
        f"test split, single ones have {low}-{high} %, and the best ensemble has {BEST_ENSEMBLE} %.",
        f"Always predicting the most frequent emotion gives {chance}{suffix}.",
    ]


def _from_json(accuracy: Any) -> Claim | None:
    """Convert a share in JSON to a claim; None if it is none."""
    if not isinstance(accuracy, (int, float)) or isinstance(accuracy, bool) or not 0 <= accuracy <= 1:
        return None
    exact = Decimal(repr(accuracy))
    exponent = exact.as_tuple().exponent
    places = max(4, -exponent) if isinstance(exponent, int) else 4
    return Claim(int(exact.scaleb(places)), places)


def _counts(claim: Claim, n: int) -> range:
    """Numbers k in 0..n that round to the claim; an exact half may have been rounded either way."""
    unit = 10**claim.places
    low, high = -(-(2 * claim.digits - 1) * n // (2 * unit)), (2 * claim.digits + 1) * n // (2 * unit)
    return range(max(0, low), min(n, high) + 1)


def _cut_counts(claim: Claim, n: int) -> range:
    """Numbers k in 0..n whose share has the digits of the claim before it was cut off."""
    unit = 10**claim.places
    return range(-(-claim.digits * n // unit), min(n, -(-(claim.digits + 1) * n // unit) - 1) + 1)


def _rounded(k: int, n: int, places: int) -> Claim:
    return Claim((2 * k * 10**places + n) // (2 * n), places)


def _allowed(n: int, places: int) -> tuple[float, float]:
    """Shares of the 10 ** places + 1 claims that n faces allow: if rounded, and if rounded or cut off.

    Each of the n + 1 accuracies makes one claim possible if rounded (two at an exact half, not counted here).
    Cut off, it makes another one possible where the digits after the claim are half a unit or more. Their
    number is the sum of floor(x + 1/2) - floor(x) over x = k 10 ** places / n (Graham, Knuth and Patashnik,
    Concrete Mathematics, equation 3.32).
    """
    claims = 10**places
    divisor = math.gcd(claims, n)
    others = n // 2 // divisor * divisor
    rounded, either = (Fraction(n + 1 + more, claims + 1) for more in (0, others))
    return min(1.0, float(rounded)), min(1.0, float(either))


def _chance(n: int | None, split: str | None) -> dict[str, Fraction]:
    """Majority share of `split`, else of the splits with n faces, else of every test split."""
    if split is not None:
        if split not in OFFICIAL:
            raise UnknownNameError("split of fer2013", split, OFFICIAL)
        size = sum(OFFICIAL[split])
        if size != n:
            raise UsageError(
                f"fer2013/{split} has {size} faces, not {n}. Give --n {size}, or leave --split out."
            )
    sized = [split] if split else [name for name, counts in OFFICIAL.items() if sum(counts) == n]
    return {name: Fraction(max(OFFICIAL[name]), sum(OFFICIAL[name])) for name in sorted(sized) or _TESTS}


def _plausibility(claim: Claim, chance: Mapping[str, Fraction]) -> str:
    percent = 100 * claim.share
    if claim.share < min(chance.values()):
        return "under chance"
    low, high = map(Fraction, SINGLE_NETWORKS)
    if percent < low:
        return "between chance and the range of trained single networks"
    if percent <= high:
        return "in the range of trained single networks"
    if percent <= Fraction(BEST_ENSEMBLE):
        return "between trained single networks and the best ensemble"
    return "above every result with a stated official split"
