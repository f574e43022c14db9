"""Write `docs/claims.md` from the published claims in `baselines.json`.

    python benchmarks/claims_page.py

It runs no model. Each claim is checked as by `fer-models data check-claim`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_models.gate import baselines
from fer_models.report.markdown_text import table
from fer_models.studies.grim import BEST_ENSEMBLE, SINGLE_NETWORKS, annotate

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"

_INTRODUCTION = """\
<!-- Written by benchmarks/claims_page.py. Do not edit. -->

# Published claims on FER-2013

Accuracies that papers, model cards and leaderboards state, from `published` in `baselines.json`. None of them
was measured here, and none decides a verdict. The page of a run shows them next to the results of the same
model.

*Check*: an accuracy on n faces is k / n for an integer k. A number that no k gives, rounded or cut off after
its last digit, is no accuracy of one run on n faces; a mean of several runs or folds can be any number. Where
a source states no n, the sizes of FER-2013's test splits are tried: 3,589 (one of them, or a random tenth of
all images) and 7,178 (both, or a random fifth). A possible number proves nothing.
`fer-models data check-claim 86.44 --n 3589` does the same for any number.

Of the networks trained on FER-2013 whose sources state an official test split, single ones have {low} to
{high} % (the lowest in a reproduction, in issue 9 of phamquiluan/ResidualMaskingNetwork), some of them with
test-time augmentation, or with an epoch that was chosen on the test faces. The best ensemble has {best} %.
Above that, ask for the split, the labels, what chose the epoch, and whether copies were made before the
split: [the study of protocols](protocols.md) measures what each of these adds.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(baselines.read(ROOT / "baselines.json").published), encoding="utf-8")


def page(claims: Sequence[Mapping[str, Any]]) -> str:
    """The page as Markdown, the highest accuracy first."""
    low, high = SINGLE_NETWORKS
    header = ("model", "claim", "n", "check", "protocol", "source")
    rows = []
    for claim in sorted(claims, key=lambda claim: -claim["accuracy"]):
        n = "not stated" if claim.get("n") is None else f"{claim['n']:,}"
        split = "" if claim.get("split") is None else f" ({claim['split']})"
        accuracy, check = f"{100 * claim['accuracy']:.2f} %", annotate(claim)["check"]
        cells = (claim["model"], accuracy, f"{n}{split}", check, claim.get("protocol", ""), claim["source"])
        rows.append(cells)
    introduction = _INTRODUCTION.format(low=low, high=high, best=BEST_ENSEMBLE)
    return f"{introduction}\n{table(header, rows, (1,))}\n"


if __name__ == "__main__":
    main()
