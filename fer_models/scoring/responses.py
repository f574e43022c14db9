"""Summary of response parsing: how the replies of a generative model were parsed, with examples."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fer_models.classifiers.base import ANSWERED
from fer_models.classifiers.vlm.questions import Question
from fer_models.classifiers.vlm.response_parser import parse_response
from fer_models.store.predictions import PredictionTable

#: How many different replies are shown for each kind, and how many characters of each.
SHOWN, LENGTH = 3, 200


def response_summary(predictions: PredictionTable, question: Question | None) -> dict[str, Any] | None:
    """Count the replies by match type (`exact`, `letter`, …) or reason of failure (`refused`, …).

    Args:
        predictions: of one model.
        question: the question of a generative model; it defines what letters mean.

    Returns:
        `answered` and `unanswered` (numbers of faces), and `entries`: for each `kind` whether it is a
        prediction, `n`, and its most frequent `replies` as `text` and `n`. None for a model without replies
        and without missing predictions.
    """
    if not any(predictions.text) and predictions.status.is_in((ANSWERED,)).all():
        return None
    options = question.options if question is not None else ()
    kinds: Counter[tuple[bool, str]] = Counter()
    replies: dict[tuple[bool, str], Counter[str]] = {}
    for status, text in zip(predictions.status, predictions.text, strict=True):
        is_prediction = status == ANSWERED
        match_type = (
            (parse_response(text, options).match_type or "probabilities") if is_prediction else status
        )
        kind = (is_prediction, match_type)
        kinds[kind] += 1
        replies.setdefault(kind, Counter())[text[:LENGTH]] += 1
    entries = [
        {
            "kind": kind,
            "answered": is_prediction,
            "n": n,
            "replies": [
                {"text": text, "n": k} for text, k in replies[is_prediction, kind].most_common(SHOWN) if text
            ],
        }
        for (is_prediction, kind), n in sorted(
            kinds.items(), key=lambda item: (not item[0][0], -item[1], item[0][1])
        )
    ]
    answered = sum(n for (is_prediction, _), n in kinds.items() if is_prediction)
    return {"answered": answered, "unanswered": len(predictions) - answered, "entries": entries}
