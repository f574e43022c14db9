"""A training of a tiny network, for tests of what surrounds it."""

from fakes import drawn

from fer_models.classifiers.architecture import Architecture
from fer_models.training import supervised
from fer_models.training.recipes import Recipe

TINY = Recipe(
    Architecture("resnet10t", size=32),
    epochs=3,
    batch_size=14,
    lr=0.02,
    sizes=((0.0, 24), (0.6, 32)),
    validate_from=0.5,
)


def train(folder, recipe=TINY, **options):
    return supervised.train(
        "tiny", recipe, [drawn(42), drawn(14, "train")], drawn(28, "test"), folder, device="cpu", **options
    )
