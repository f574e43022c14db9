"""Loaded models and the memory that they take."""

import weakref

import pytest

from fer_models.classifiers.dummy import Constant
from fer_models.config import EvalConfig
from fer_models.emotions import Emotion
from fer_models.errors import NotEnoughMemoryError
from fer_models.inference.loader import Loader
from fer_models.zoo.spec import ModelSpec


def test_a_model_that_fits_alone_is_loaded_in_place_of_earlier_ones():
    alive = weakref.WeakSet()

    def load(runtime):
        if alive:
            raise NotEnoughMemoryError("the second needs 8.7 GB, 7.1 GB are free")
        model = Constant(Emotion.SAD)
        alive.add(model)
        return model

    first, second = (ModelSpec(name, load=load) for name in ("first", "second"))
    loader = Loader(EvalConfig(), list)
    loader.classifier(first)
    assert loader.classifier(second) is loader.classifier(second)
    assert len(alive) == 1
    assert loader.classifier(first) is loader.classifier(first)


def test_a_model_that_does_not_fit_alone_is_an_error():
    def load(runtime):
        raise NotEnoughMemoryError("it needs 80 GB")

    loader = Loader(EvalConfig(), list)
    with pytest.raises(NotEnoughMemoryError, match="80 GB"):
        loader.classifier(ModelSpec("large", load=load))
