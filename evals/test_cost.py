"""What does each model cost: preparing faces, a training step, answering a batch and a single face, and evaluating the answers?

pytest-benchmark keeps the times (`--benchmark-autosave`, `pytest-benchmark compare`); figures beside them are in `extra_info`.
"""

import itertools
from dataclasses import replace

import pytest

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Countable, Staged
from fer_models.evaluation import cost
from fer_models.evaluation.metrics import measure

BATCH = 32
pytestmark = pytest.mark.benchmark(min_rounds=3, warmup=False)


@pytest.fixture
def measured(benchmark, costs):
    """Time one step over some faces, and leave its figures with the benchmark and for the page."""

    def measure_step(phase, step, faces, *, model, restoration="raw", rounds=5, classifier=None):
        figures = {"phase": phase, "model": model, "restoration": restoration, "batch": faces}
        if isinstance(classifier, Countable):
            figures |= {"parameters": classifier.parameters, "macs": classifier.macs}
        figures["peak_memory_mb"] = cost.peak_memory_mb(step)  # also the warm-up
        benchmark.extra_info.update(figures)
        benchmark.pedantic(cost.synchronised(step), rounds=rounds, iterations=1)
        if benchmark.stats is None:  # switched off: --benchmark-disable, or several processes
            return
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["images_per_second"] = faces / seconds
        costs.append({"name": benchmark.name, **figures, "seconds": seconds, "images_per_second": faces / seconds})

    return measure_step


def test_cost_of_preprocessing(measured, classifier, model, faces):
    pictures = faces.faces(range(min(BATCH, len(faces))))
    prepare = classifier.preprocess if isinstance(classifier, Staged) else lambda batch: [face.copy() for face in batch]
    measured("preprocessing", lambda: prepare(pictures), len(pictures), model=model.name)


def test_cost_of_restoration(measured, suite, restoration, faces):
    reason = suite.restorer_unavailable(restoration.name)
    if reason is not None:
        pytest.skip(reason)
    pictures = faces.faces(range(min(BATCH, len(faces))))
    restorer = suite.restorer(restoration.name)
    measured("restoration", lambda: restorer.restore(pictures), len(pictures), model=None, restoration=restoration.name)


def test_cost_of_inference_in_batches(measured, classifier, model, faces):
    pictures = faces.faces(range(min(BATCH, len(faces))))
    measured("inference", lambda: classifier.predict(pictures), len(pictures), model=model.name, classifier=classifier)


def test_cost_of_inference_on_a_single_face(measured, classifier, model, faces):
    picture = faces.faces([0])
    measured("single face", lambda: classifier.predict(picture), 1, model=model.name, rounds=10, classifier=classifier)


def test_cost_of_another_prompt_set(measured, reader, model, faces):
    """New words for faces that were looked at before: seven texts per template, and no face."""
    seen, asked = reader.embed(faces.faces(range(min(BATCH, len(faces))))), prompts.load("clip-benchmark")
    fresh = (replace(asked, templates=(f"{i} {asked.templates[0]}",)) for i in itertools.count())  # no text is encoded twice
    measured("another prompt", lambda: reader.classify(seen, next(fresh)), len(seen), model=model.name)


def test_cost_of_a_training_step(measured, training_step, model):
    step, batch = training_step
    measured("training step", step, batch, model=model.name, rounds=3)


def test_cost_of_training(training_record, costs, model):
    """Not timed here but read from the record in the weights: what it took to train them, where that was done."""
    figures = cost.training(training_record)
    assert figures["seconds"] > 0
    costs.append({"name": f"training of {model.name}", "phase": "training", "model": model.name, "restoration": "raw", **figures})


def test_cost_of_evaluation(measured, predictions, model, restoration):
    p = predictions
    measured("evaluation", lambda: measure(p.truth, p.answer, p.probabilities), len(p), model=model.name, restoration=restoration.name, rounds=3)
