"""Training of a tiny network on a few synthetic faces, and a kill of a training run."""

import pytest
from fakes import toy_faces

from fer_models.classifiers.architecture import Architecture
from fer_models.training.recipes import Recipe
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.supervised import SupervisedTraining

TINY = Recipe(
    Architecture("resnet10t", size=32),
    epochs=3,
    batch_size=14,
    lr=0.02,
    sizes=((0.0, 24), (0.6, 32)),
    validate_from=0.5,
)
DATA = TrainingData([toy_faces(42), toy_faces(14, "train")], toy_faces(28, "test"))


def train(folder, recipe=TINY, data=DATA, **options):
    return SupervisedTraining("tiny", recipe, data, RunOptions(device="cpu", **options)).run(folder)


def kill(train, title, at_step=1):
    """Run `train(report=...)` and kill it after a step of the epoch whose title begins so."""

    def report(current_title, step, steps, metrics):
        if current_title.startswith(title) and step == at_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(report=report)
