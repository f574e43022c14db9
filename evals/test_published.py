"""Do we measure what others measured? Zero-shot rows of CLIP_benchmark, for whoever has these weights:
`--dataset fer2013 --split test`.
"""

import pytest

from fer_models.classifiers import prompts
from fer_models.evaluation import Suite
from fer_models.zoo import resolve, restorers
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry

#: How far apart two honest measurements may lie: their faces were JPEG files, ours may be the pixels
#: themselves.
POINTS = 0.002


def published(suite):
    """The published rows about exactly these faces that say how to ask for the same model here."""
    known = [p for p in suite.baselines.published if "asked_as" in p]
    return [
        p
        for p in known
        if (p["dataset"], p["split"], p["n"])
        == (suite.data.full_split.dataset, suite.data.full_split.split, len(suite.data.faces))
    ]


def test_published_zero_shot_accuracies_are_reproduced(suite):
    rows = published(suite)
    if not rows:
        pytest.skip(
            "nothing is published about these faces that can be asked here; it is about --dataset fer2013 --split test"
        )
    asked, missing, wrong = 0, [], []
    for row in rows:
        models = resolve.with_prompts(
            Registry("model", resolve.resolve_model(row["asked_as"], MODELS)), prompts.load("clip-benchmark")
        )
        own, pair = Suite(suite.options, models, restorers.RESTORERS, suite.show), (row["asked_as"], "raw")
        reason = own.unavailable_reason(pair)
        if reason is not None:
            missing.append(reason)
            continue
        asked, right = asked + 1, int(own.predict(pair).predictions.correct.sum())
        if abs(right - row["correct"]) > POINTS * row["n"]:
            wrong.append(
                f"{row['asked_as']}: {right} of {row['n']} right here, {row['correct']} there ({row['source']})"
            )
    if not asked:
        pytest.skip("\n".join(missing))
    assert not wrong, "\n".join(wrong)
