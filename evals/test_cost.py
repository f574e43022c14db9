"""Cost of each phase: decoding, restoration, preprocessing, inference, scoring, judging, the page, training.

Inference is timed on a batch and on a single face. Times are measured once per code, model and machine, and
stored; `--measure-costs` measures them again. pytest-benchmark saves them too (`--benchmark-autosave`,
`--benchmark-compare`: these measure again); further figures are in its `extra_info`. Before each round the
reference workload is timed: `relative` is the median multiple of it.
"""

import itertools
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Preprocessable, Profiled, device_of
from fer_models.cost import measurement
from fer_models.cost.energy import EnergyMeter
from fer_models.cost.reference_workload import reference_workload
from fer_models.errors import FerModelsError
from fer_models.gate import baselines, gate
from fer_models.images import distinct_shapes
from fer_models.report.html_report import page_html
from fer_models.scoring.metrics import measure_predictions
from fer_models.store.subject import Subject
from fer_models.third_party_code import wrap_errors

BATCH = 32
#: Seconds for more rounds of a single face: a percentile needs at least `PERCENTILE_ROUNDS`.
MORE_SECONDS, PERCENTILE_ROUNDS = 3, 20
#: Phases that show the size of the model.
PROFILED_PHASES = ("inference", "single face")
#: A stored cost is not timed again.
pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")


@pytest.fixture
def measure_cost(request, evaluation, costs, benchmark):
    """A function that times a step, or finds its stored figures, for the page and for pytest-benchmark."""
    store, options = evaluation.runner.costs, evaluation.runner.options
    face_set = evaluation.runner.data.faces
    runtime = options.runtime

    def measure_step(
        phase, build, faces, *, model=None, restoration=None, rounds=None, loaded=None, identity=None
    ):
        """Measure one step over some faces.

        `build` returns the step; it is called only if the step is not stored. `loaded` returns the model or
        the restorer that computes it. `identity` is what the time depends on, by default the model, the
        restoration and the shapes of the faces.
        """
        specs = {"model": model, "restoration": restoration}
        name = {
            "phase": phase,
            "model": model and model.name,
            "restoration": restoration.name if restoration else "raw",
            "batch": faces,
        }
        identities = {kind: spec and spec.identity(runtime) for kind, spec in specs.items()}
        rounds = rounds or options.depth.cost_rounds
        step = {"phase": phase, "batch": faces, "rounds": rounds, "device": runtime.device}
        if identity is None:
            shapes = distinct_shapes(face_set.faces(range(min(faces, len(face_set)))))
            step |= {"identities": identities, "shapes": shapes}
        else:
            step |= {"identities": identity, "device": "cpu"}
        figures = store.find(step)
        if figures is None and benchmark.disabled:  # --benchmark-disable, or several processes
            return
        if figures is None:
            names = ", ".join(spec.name for spec in specs.values() if spec) or "the faces"
            with wrap_errors(FerModelsError, f"The {phase} of {names} cannot be timed"):
                figures = time_step(benchmark, build(), rounds, name, loaded and loaded(), step["device"])
            store.save(step, figures)
        if model is not None and identity is None:
            path = model.weights_path()
            figures["precision"] = model.resolve(runtime).precision
            figures["weights_bytes"] = None if path is None else measurement.size_in_bytes(path)
        costs.append({"name": request.node.name, **name, **figures})

    return measure_step


def time_step(benchmark, step, rounds, name, loaded, device):
    """Time a step with pytest-benchmark; its figures."""
    figures, faces = {}, name["batch"]
    if name["phase"] in PROFILED_PHASES and isinstance(loaded, Profiled):
        figures |= {"parameters": loaded.parameters, "macs": loaded.macs}
    from fer_models.artifacts.safetensors_io import pick_device  # it imports torch

    device = device_of(loaded) or pick_device(device).type  # `auto` is no device of torch
    figures["peak_memory_mb"] = measurement.peak_memory_mb(step, device)  # also the warm-up
    benchmark.extra_info.update(name | figures)
    run, references = measurement.synchronized(step), []
    if faces == 1:
        rounds = max(rounds, min(10 * rounds, int(MORE_SECONDS / measurement.seconds_of(run))))
    time_reference = reference_timer(references, device)
    benchmark.pedantic(run, setup=time_reference, rounds=rounds, iterations=1)
    data = list(benchmark.stats.stats.data)
    # Each round has its own reference, timed just before: a busy machine slows both alike.
    multiples = [seconds / reference for seconds, reference in zip(data, references, strict=False)]
    seconds = benchmark.stats.stats.median
    figures |= {"seconds": seconds, "images_per_second": faces / seconds, **interval("seconds", data)}
    if faces == 1 and len(data) >= PERCENTILE_ROUNDS:
        figures["seconds_p95"] = float(np.quantile(data, 0.95))
    figures |= {"relative": median(multiples), **interval("relative", multiples)}
    figures |= {"joules": joules_per_step(run, rounds, device), "device": device}
    benchmark.extra_info.update(figures)
    return figures


def reference_timer(references, device):
    """A function that appends the seconds of one reference workload to `references`."""
    reference = measurement.synchronized(reference_workload(device))
    reference()  # the warm-up
    return lambda: references.append(measurement.seconds_of(reference))


def joules_per_step(run, rounds, device):
    """The energy of one step, over rounds of their own: the reference workload is not in it."""
    if (meter := EnergyMeter(device)).joules() is None:
        return None
    meter = EnergyMeter(device)
    for _ in range(rounds):
        run()
    joules = meter.joules()
    return None if joules is None else joules / rounds


def interval(name, values):
    ends = measurement.median_interval(values)
    return {} if ends is None else dict(zip((f"{name}_low", f"{name}_high"), ends, strict=True))


@pytest.fixture
def batch(faces):
    """Up to `BATCH` faces."""
    return faces.faces(range(min(BATCH, len(faces))))


def test_cost_of_decoding(measure_cost, faces):
    rows = range(min(BATCH, len(faces)))
    measure_cost("decoding", lambda: lambda: faces.faces(rows), len(rows), identity=faces.fingerprint)


def test_cost_of_preprocessing(measure_cost, load_classifier, model, batch):
    def build():
        classifier = load_classifier()
        prepare = (
            classifier.preprocess
            if isinstance(classifier, Preprocessable)
            else lambda faces: [face.copy() for face in faces]
        )
        return lambda: prepare(batch)

    measure_cost("preprocessing", build, len(batch), model=model, loaded=load_classifier)


def test_cost_of_restoration(measure_cost, evaluation, restoration, batch):
    reason = evaluation.runner.restorer_unavailable_reason(restoration.name)
    if reason is not None:
        pytest.skip(reason)

    def load_restorer():
        return evaluation.runner.restorer(restoration.name)

    def build():
        restorer = load_restorer()
        return lambda: restorer.restore(batch)

    measure_cost("restoration", build, len(batch), restoration=restoration, loaded=load_restorer)


def test_cost_of_inference_in_batches(measure_cost, load_classifier, model, batch):
    def build():
        classifier = load_classifier()
        return lambda: classifier.predict(batch)

    measure_cost("inference", build, len(batch), model=model, loaded=load_classifier)


def test_inference_is_no_slower_than_its_baseline(cost_gate, benchmark):
    """Relative to the reference workload, for models whose baseline has a cost ratio of this machine."""
    cost_gate.assert_no_regression(only_stored=benchmark.disabled)


def test_cost_of_inference_on_a_single_face(measure_cost, load_classifier, model, evaluation, batch):
    def build():
        classifier = load_classifier()
        return lambda: classifier.predict(batch[:1])

    rounds = 2 * evaluation.runner.options.depth.cost_rounds
    measure_cost("single face", build, 1, model=model, rounds=rounds, loaded=load_classifier)


def test_cost_of_another_prompt_set(measure_cost, load_zero_shot_classifier, model, batch):
    """New prompts for embedded faces: seven texts per template are encoded, and no face."""

    def build():
        classifier, plain = load_zero_shot_classifier(), prompts.load("clip-benchmark")
        embeddings = classifier.embed(batch)
        new = (
            replace(plain, templates=(f"{i} {plain.templates[0]}",)) for i in itertools.count()
        )  # no text is encoded twice
        return lambda: classifier.classify(embeddings, next(new))

    measure_cost("another prompt", build, len(batch), model=model, loaded=load_zero_shot_classifier)


def test_cost_of_a_training_step(measure_cost, training_step, model, evaluation, batch):
    rounds = max(1, evaluation.runner.options.depth.cost_rounds - 2)
    measure_cost("training step", lambda: training_step()[0], len(batch), model=model, rounds=rounds)


def test_cost_of_training(training_record, costs, model):
    """The cost in the training record of the weights; it is not measured here."""
    figures = measurement.training_cost(training_record)
    assert figures["seconds"] > 0
    costs.append(
        {
            "name": f"training of {model.name}",
            "phase": "training",
            "model": model.name,
            "restoration": "raw",
            **figures,
        }
    )


def test_cost_of_evaluation(measure_cost, predictions, model, restoration):
    """Metrics with their intervals, from predictions: no model is needed, so one time serves all."""
    names = {"model": model, "restoration": restoration}
    measure_cost(
        "evaluation", lambda: lambda: measure_predictions(predictions), len(predictions), **names, identity=""
    )


def test_cost_of_judging(measure_cost, predictions, model, restoration):
    """The paired tests of one subject, against its own predictions: the same time serves all."""
    measured, subject = measure_predictions(predictions), Subject("", "", restoration.name, model.name)
    record = baselines.record_of(subject, predictions.fingerprint, predictions, measured, {})
    compared = gate.ComparedFaces(predictions.fingerprint, predictions.truth)

    def step():
        gate.judge([gate.compare(subject, predictions, measured, record, compared)])

    names = {"model": model, "restoration": restoration}
    measure_cost("judging", lambda: step, len(predictions), **names, identity="")


def test_cost_of_the_page(measure_cost, report_of_combination, predictions, model, restoration):
    """The page of one subject, with its figures: the same time serves all."""

    def build():
        report = report_of_combination()
        return lambda: page_html(report)

    names = {"model": model, "restoration": restoration}
    measure_cost("page", build, len(predictions), **names, identity="")
