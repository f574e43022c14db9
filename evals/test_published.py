"""Published zero-shot accuracies (CLIP_benchmark), reproduced with the same weights and faces.

They are about `--dataset fer2013 --split test`.
"""

import pytest

from fer_models.classifiers import prompts
from fer_models.inference.runner import Combination, Runner
from fer_models.zoo import resolve, restorers
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry

#: Largest difference of a reproduced accuracy: their faces were JPEG files, ours may be pixels.
TOLERANCE = 0.002


def published_rows(evaluation):
    """The published rows about exactly these faces, without a corruption, that name the same model here."""
    data = evaluation.runner.data
    if evaluation.runner.options.corruption is not None:
        return []
    faces = data.full_split.dataset, data.full_split.split, len(data.faces)
    rows = [row for row in evaluation.baselines.published if row.get("evaluated_as")]
    return [row for row in rows if (row["dataset"], row["split"], row["n"]) == faces]


def runner_of(rows, evaluation):
    """A runner of the published models, with the published prompts."""
    names = dict.fromkeys(row["evaluated_as"] for row in rows)
    models = Registry("model", *(resolve.resolve_model(name, MODELS) for name in names))
    models = resolve.with_prompts(models, prompts.load("clip-benchmark"))
    return Runner(evaluation.runner.options, models, restorers.RESTORERS, evaluation.runner.show)


def test_published_zero_shot_accuracies_are_reproduced(evaluation):
    rows = published_rows(evaluation)
    if not rows:
        pytest.skip("nothing is published about these faces; it is about --dataset fer2013 --split test")
    runner, n_evaluated, missing, differing = runner_of(rows, evaluation), 0, [], []
    for row in rows:
        combination = Combination(row["evaluated_as"], "raw")
        reason = runner.unavailable_reason(combination)
        if reason is not None:
            missing.append(reason)
            continue
        n_evaluated, n_correct = n_evaluated + 1, int(runner.predict(combination).predictions.correct.sum())
        if abs(n_correct - row["correct"]) > TOLERANCE * row["n"]:
            differing.append(
                f"{row['evaluated_as']}: {n_correct} of {row['n']} predictions are correct here, "
                f"{row['correct']} there ({row['source']})"
            )
    if not n_evaluated:
        pytest.skip("\n".join(missing))
    assert not differing, "\n".join(differing)
