"""What the tests share: synthetic faces, predictions without pixels, tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from fer_models.classifiers.base import Predictions
from fer_models.classifiers.dummy import Constant
from fer_models.datasets import synthetic_drawing
from fer_models.datasets.base import FaceSet
from fer_models.emotions import Emotion
from fer_models.inference.batches import BatchLoop
from fer_models.inference.loop import no_count, predict_missing_shards
from fer_models.inference.pipeline import Pipeline
from fer_models.restorers.base import Raw
from fer_models.store.partition import Store
from fer_models.store.predictions import PredictionTable, canonical_order
from fer_models.store.subject import Subject
from fer_models.zoo.spec import ModelSpec


@lru_cache
def toy_faces(n: int, split: str = "validation") -> FaceSet:
    """Render the first `n` synthetic faces of a split, and no others."""
    images = np.stack([synthetic_drawing.draw(split, i) for i in range(n)])
    return FaceSet("toy", split, images, np.arange(n, dtype=np.int64) % 7, [f"toy {i}" for i in range(n)])


def prediction_table(truth: np.ndarray, answer: np.ndarray, certainty: float = 0.7) -> PredictionTable:
    """Predictions in canonical order for faces without pixels."""
    n = len(truth)
    p = np.full((n, 7), (1 - certainty) / 6)
    p[np.arange(n), np.maximum(answer, 0)] = certainty
    p[answer < 0] = np.nan
    faces = tuple(f"{i:064x}" for i in range(n))
    status = tuple("ok" if a >= 0 else "silent" for a in answer)
    return PredictionTable(
        faces,
        np.arange(n),
        np.asarray(truth, dtype=np.int64),
        np.asarray(answer, dtype=np.int64),
        p,
        status,
        ("",) * n,
    )


def oracle_labels(faces: FaceSet) -> dict[str, Emotion]:
    return {h: Emotion(int(label)) for h, label in zip(faces.hashes, faces.labels, strict=True)}


def in_canonical_order(faces: FaceSet) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Rows, hashes and labels in canonical order."""
    order = canonical_order(faces.hashes, faces.labels)
    return order, tuple(faces.hashes[i] for i in order), faces.labels[order]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Simulate a full disk: the system refuses to write more than `size` bytes per file."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def pipeline(model, restorer=None, name="fake", corruption=None):
    """The pipeline of a loaded model and restorer."""
    spec = ModelSpec(name, lambda runtime: model)
    return Pipeline(corruption, restorer or Raw(), model, spec, "raw")


def run(root, faces, model, restorer=None, progress=no_count, batch_size=4):
    """Predict faces with `model` through the store at `root`."""
    order, hashes, truth = in_canonical_order(faces)
    subject = Subject("toy", "validation", "raw", "fake")
    partition = Store(root).partition(subject, "k" * 64, hashes, truth, order)
    ordered = faces.select(order)

    def load():
        steps = pipeline(model, restorer).prediction_steps()
        loop = BatchLoop(steps, ordered, batch_size, progress)
        return lambda rows: Predictions.joined(loop(rows))

    return predict_missing_shards(partition, load, dict, progress)


def predict_and_count(root, counter):
    """Predict with a constant model, and count its faces: what a second process runs."""

    class Shared:
        def predict(self, faces):
            with counter.get_lock():
                counter.value += len(faces)
            return Constant(Emotion.SAD).predict(faces)

    run(root, toy_faces(28), Shared())


def calibrated_predictions(n=2000, seed=0):
    """Predictions of a calibrated model that is correct on about two faces of three."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(7, 0.35), n)
    truth = np.array([rng.choice(7, p=row) for row in p])
    return PredictionTable(
        tuple(f"{i:064x}" for i in range(n)), np.arange(n), truth, p.argmax(axis=1), p, ("ok",) * n, ("",) * n
    )


class TinyEncoder:
    """Embeds a face as eight by eight grey values, and predicts all emotions alike."""

    embedded = 0

    def embed(self, faces):
        TinyEncoder.embedded += len(faces)
        return np.array([face[::6, ::6, 0].ravel()[:64] / 255 for face in faces], dtype=np.float32)

    def classify(self, features):
        return Predictions.from_probabilities(np.full((len(features), 7), 1 / 7))

    def predict(self, faces):
        return self.classify(self.embed(faces))
