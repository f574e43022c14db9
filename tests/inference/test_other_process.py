"""One function in a process of its own, and what is sent to it."""

import os
import threading

import pytest

from fer_models.classifiers.dummy import Constant
from fer_models.emotions import Emotion
from fer_models.errors import PredictionError, UnknownNameError, UsageError, WeightsMissingError
from fer_models.inference.other_process import call_in_new_process, plain
from fer_models.zoo.registry import from_file
from fer_models.zoo.spec import ModelSpec


def spec(load=lambda runtime: Constant(Emotion.HAPPY), **fields):
    return ModelSpec("net", load, **fields)


def process_and_sum(model, *numbers):
    return os.getpid(), model.name, sum(numbers)


def test_a_function_gets_the_record_and_its_arguments_in_another_process():
    pid, name, total = call_in_new_process(process_and_sum, spec(), 1, 2)
    assert pid != os.getpid()
    assert (name, total) == ("net", 3)


def test_the_record_of_a_file_is_sent_as_that_file_defines_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from fer_models import ModelSpec\n"
        "class Mine: pass\n"
        "MODELS = [ModelSpec('mine', lambda runtime: Mine())]\n"
    )
    ((model,), _) = from_file(tmp_path / "mine.py")
    assert call_in_new_process(kind_of, model) == ("Mine", str(tmp_path))


def kind_of(model):
    return type(model.load(None)).__name__, os.getcwd()


def missing_weights(model):
    raise WeightsMissingError(model.name, "train it")


def test_an_error_of_this_package_arrives_with_its_text():
    with pytest.raises(WeightsMissingError, match="train it"):
        call_in_new_process(missing_weights, spec())


def test_an_error_with_other_arguments_travels_as_the_next_simple_kind():
    error = plain(UnknownNameError("model", "vg19", ["vgg19"]))
    assert type(error) is UsageError
    assert "Did you mean 'vgg19'?" in str(error)


def end(model):
    os._exit(3)


def test_the_end_of_the_process_is_an_error_that_names_the_model():
    with pytest.raises(PredictionError, match="'net' ended the process"):
        call_in_new_process(end, spec())


def test_a_record_that_cannot_be_sent_is_an_error_with_advice():
    lock = threading.Lock()
    with pytest.raises(PredictionError, match="Open files and connections in `load`"):
        call_in_new_process(process_and_sum, spec(lambda runtime: lock))
