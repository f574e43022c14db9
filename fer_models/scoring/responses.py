"""What became of every reply of a model that writes: read how, or not read for which reason, with samples of
the words themselves.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fer_models.classifiers.base import ANSWERED
from fer_models.classifiers.vlm import response_parser as replies
from fer_models.classifiers.vlm.questions import Question
from fer_models.store.predictions import PredictionTable

#: How many different replies are shown for each way to read them, and how much of each.
SHOWN, LENGTH = 3, 200


def response_summary(predictions: PredictionTable, question: Question | None) -> dict[str, Any] | None:
    """One entry per way that replies were read (`exact`, `letter`, `word`, `synonym`) or reason why not
    (`refused`, `ambiguous`, …).

    Args:
        answers: what is stored.
        question: what was asked, for a model that writes; it tells what letters mean.

    Returns:
        `answered` and `unanswered` (numbers of faces), and `entries`: for each, `kind`, whether it is an
            answer, `n`, and its most frequent `replies`
        as `text` and `n`. None for a model that wrote nothing and left nothing unanswered.
    """
    if not any(predictions.text) and all(status == ANSWERED for status in predictions.status):
        return None
    options = question.options if question is not None else ()
    kinds: Counter[tuple[bool, str]] = Counter()
    said: dict[tuple[bool, str], Counter[str]] = {}
    for status, text in zip(predictions.status, predictions.text, strict=True):
        kind = (
            (True, replies.parse_response(text, options).match_type or "probabilities")
            if status == ANSWERED
            else (False, status)
        )
        kinds[kind] += 1
        said.setdefault(kind, Counter())[text[:LENGTH]] += 1
    entries = [
        {
            "kind": what,
            "answered": ok,
            "n": n,
            "replies": [{"text": text, "n": k} for text, k in said[ok, what].most_common(SHOWN) if text],
        }
        for (ok, what), n in sorted(kinds.items(), key=lambda item: (not item[0][0], -item[1], item[0][1]))
    ]
    answered = sum(n for (ok, _), n in kinds.items() if ok)
    return {"answered": answered, "unanswered": len(predictions) - answered, "entries": entries}
