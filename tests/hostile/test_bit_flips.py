"""Two thousand flipped bits in everything that a run caches: each is noticed and computed anew, or harmless.
No answer, pixel or figure changes.

One small run of the real classes fills every cache. Then one bit of one file is flipped, what the file holds
is asked for by a new process's objects, and the result is compared with the first one; the file must be what
it was, byte for byte.
"""

from __future__ import annotations

import functools
import hashlib
import random
import warnings
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from fakes import oracle_labels, toy_faces
from PIL import Image

from fer_models import datasets
from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.prompts import PromptSet
from fer_models.config import EvalConfig
from fer_models.cost import store as cost_store
from fer_models.datasets import synthetic, synthetic_drawing
from fer_models.depth import FULL
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning
from fer_models.evaluation import Evaluation
from fer_models.images import face_hash
from fer_models.inference.dataset import EvalDataset
from fer_models.robustness import prompt_search
from fer_models.store import partition as stores
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RAW
from fer_models.zoo.spec import ModelSpec, RestorerSpec

#: Flips of a bit by cache; those whose content is slow to make get fewer.
FLIPS = {
    "store": 200,
    "restored": 600,
    "features": 500,
    "predictions": 500,
    "costs": 150,
    "cache": 30,
    "prompts": 12,
    "synthetic": 8,
}
FACES = toy_faces(56)
PAIRS = (("sharp", "raw"), ("reader", "raw"))
SETS = [
    prompts.load("plain"),
    PromptSet("own", ("a {} face",), tuple((f"very {label}",) for label in LABELS)),
]


class Sharp:
    """Right on three faces in four, with probabilities that differ from face to face, and silent on one in
    eleven.
    """

    def predict(self, faces):
        labels, numbers = oracle_labels(FACES), [int(face_hash(face), 16) for face in faces]
        rows = np.random.RandomState(7).dirichlet(np.full(7, 2.0), 97)[[n % 97 for n in numbers]]
        for row, face, n in zip(rows, faces, numbers, strict=True):
            truth = labels.get(face_hash(face))
            if truth is not None and n % 4:
                row[[truth, row.argmax()]] = row[[row.argmax(), truth]]
        silent = {i: "too dark" for i, n in enumerate(numbers) if n % 11 == 0}
        return Predictions.from_probabilities(
            rows, unanswered=silent, text=[f"reply {n % 5}" for n in numbers]
        )


class Reader:
    """Embeds a face as the brightness of nine stripes; words that it does not know turn its answers."""

    def embed(self, faces):
        return np.array(
            [[part.mean() / 255 for part in np.array_split(face, 9)] for face in faces], dtype=np.float32
        )

    def classify(self, features, prompt_set=None):
        words = "" if prompt_set is None else " ".join(prompt_set.texts(0))
        weight = np.random.RandomState(sum(words.encode()) % 1000).normal(size=(9, 7))
        rows = np.exp(features @ weight)
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True))

    def predict(self, faces):
        return self.classify(self.embed(faces))


class Negative:
    """A slow restorer."""

    def restore(self, faces):
        return [np.repeat(255 - face, 2, axis=0) for face in faces]


class SameDay(date):
    """The calendar of a day that does not end, so that figures measured again have the date of the first."""

    @classmethod
    def today(cls):
        return cls(2026, 5, 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a dataset (with leaks from train), and a user's cache folder in it; splits of 21
    synthetic faces.
    """
    folder = tmp_path_factory.mktemp("home")
    for split, rows in {"train": range(28), "test": range(14, 56)}.items():
        for i in rows:
            place = folder / "faces" / split / LABELS[FACES.labels[i]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(FACES.images[i]).save(place / f"{i:03d}.png")
    pixels = {
        "test": hashlib.sha256(
            np.stack([synthetic_drawing.draw("test", i) for i in range(21)]).tobytes()
        ).hexdigest()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setattr(synthetic, "SPLITS", {"test": 21})
        patch.setattr(synthetic, "PIXELS", pixels)
        patch.setattr(stores, "SHARD", 16)
        patch.setattr(cost_store, "date", SameDay)
        yield folder
        synthetic._render.cache_clear()


class Caches:
    """What can be asked of each cache, by objects that remember nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home
        depth, store = replace(FULL, near_copies=False), home / "evals" / "store"
        self.options = EvalConfig(
            str(home / "faces"), split="test", store=store, baselines=home / "baselines.json", depth=depth
        )
        # Faces are decoded once; what is cached of them is read by a new data set each time.
        self.load = functools.cache(
            lambda split: datasets.load(self.options.dataset, split, self.options.data_root)
        )
        self.faces = self.data().faces

    def evaluation(self) -> Evaluation:
        models = Registry(
            "model",
            ModelSpec("sharp", lambda r: Sharp()),
            ModelSpec("reader", lambda r: Reader(), has_embeddings=True),
        )
        restorers = Registry("restorer", RAW, RestorerSpec("negative", lambda r: Negative(), cached=True))
        evaluation = Evaluation(self.options, models, restorers)
        evaluation.runner.data = self.data()
        return evaluation

    def data(self) -> EvalDataset:
        return EvalDataset(self.options, load=self.load)

    def store(self):
        runner = self.evaluation().runner
        answers = [runner.predict(pair).predictions for pair in PAIRS]
        return [
            (a.faces, a.index, a.truth, a.answer, a.probabilities, a.status, a.text, a.has_probabilities)
            for a in answers
        ]

    def restored(self):
        return self.evaluation().runner.restore("negative", self.faces.faces(range(14)))

    def features(self):
        return self.evaluation().runner.embeddings(("reader", "raw"))

    def predictions(self):
        runner, darker = self.evaluation().runner, [face // 2 for face in self.faces.faces(range(20))]
        with runner.predictor(("sharp", "raw")) as predict:
            predictions = predict(darker)
        with runner.prompt_classifier(("reader", "raw")) as classify:
            answers = [classify(prompt_set) for prompt_set in SETS]
        return predictions.probabilities, predictions.status, predictions.text, answers

    def costs(self):
        costs = self.evaluation().runner.costs
        measured = [
            costs.get_or_measure({"phase": phase}, lambda phase=phase: {"seconds": len(phase) / 7})
            for phase in ("one", "three")
        ]
        return [
            figures["seconds"] for figures in measured
        ]  # not the date, which tells only stored figures from measured ones

    def cache(self):
        data = self.data()
        return data.train_hashes, data.audit()

    def prompts(self):
        answer = lambda prompt_set: Reader().classify(features, prompt_set).answer  # noqa: E731
        features = Reader().embed(self.faces.faces(range(len(self.faces))))
        truth = (
            Reader()
            .classify(features, PromptSet("own", SETS[0].templates[:1], tuple(w[:1] for w in SETS[0].words)))
            .answer
        )
        return prompt_search.search(
            answer, SETS[0], truth, examples=25, breaking_file=self.home / "evals" / "prompts" / "reader.json"
        ).as_json()

    def synthetic(self):
        synthetic._render.cache_clear()
        return np.stack([synthetic.load("test").images[i] for i in range(21)])

    def seconds(self):
        runner = self.evaluation().runner
        return [runner.predict(pair).seconds for pair in PAIRS]

    def files(self, kind: str) -> list[Path]:
        """The files of one cache, without those that only lock."""
        root = self.home / ".cache" if kind == "synthetic" else self.home / "evals" / kind
        return sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")

    def everything(self):
        return {kind: getattr(self, kind)() for kind in FLIPS}


@pytest.fixture(scope="module")
def caches(home):
    made = Caches(home)
    made.everything()
    return made


def assert_equal(actual, expected, where):
    """Equal to the last bit, however deep."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(actual, expected, err_msg=where)
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other, where)
    else:
        assert actual == expected, where


def flip(path: Path, bit: int) -> bytes:
    """Flip one bit of a file; its bytes before."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    return whole


def test_every_cache_of_a_run_is_there(caches):
    assert all(caches.files(kind) for kind in FLIPS)
    kinds = {path.suffix for kind in FLIPS for path in caches.files(kind)}
    assert kinds == {".parquet", ".json", ".png", ".txt", ".uint8"}
    data = caches.data()
    assert data.faces.hashes.is_in(data.train_hashes).sum() == 14


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLIPS)
def test_no_flipped_bit_changes_what_a_cache_gives(caches, kind):
    expected, rng = getattr(caches, kind)(), random.Random(f"2000 flips, {kind}")
    files = [path for path in caches.files(kind) if not path.name.startswith("seconds-")]
    for _ in range(FLIPS[kind]):
        path = rng.choice(files)
        bit = rng.randrange(8 * path.stat().st_size)
        whole, where = flip(path, bit), f"bit {bit} of {path}"
        with warnings.catch_warnings(record=True) as caught:
            assert_equal(getattr(caches, kind)(), expected, where)
        messages = [str(w.message) for w in caught if w.category is DamagedFileWarning]
        assert len(messages) == 1, (where, messages)
        assert messages[0].startswith(f"{path} is damaged: "), where
        assert messages[0].endswith("Its content is computed anew."), where
        assert path.read_bytes() == whole, where
        assert caches.files(kind) == sorted({*caches.files(kind), *files}), where


def test_a_flipped_bit_in_the_times_makes_them_unknown_and_nothing_else(caches):
    expected, rng, answers = caches.seconds(), random.Random("seconds"), caches.store()
    files = [path for path in caches.files("store") if path.name.startswith("seconds-")]
    assert len(files) == 2
    for _ in range(50):
        path = rng.choice(files)
        whole = flip(path, rng.randrange(8 * path.stat().st_size))
        actual = caches.seconds()
        assert Counter(actual) == Counter([None, *[s for s in expected if s in actual]])
        assert_equal(caches.store(), answers, path)
        path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_bit_flipped_in_every_file_at_once_changes_no_result(caches, seed):
    expected, rng = caches.everything(), random.Random(seed)
    result = [caches.evaluation().result(pair) for pair in PAIRS]
    before = {
        path: flip(path, rng.randrange(8 * path.stat().st_size))
        for kind in FLIPS
        for path in caches.files(kind)
    }
    with pytest.warns(DamagedFileWarning):
        actual = caches.everything()
    assert_equal(actual, expected, seed)
    with pytest.warns(DamagedFileWarning, match="pixel-"):  # pixel properties are read for slices only
        again = [caches.evaluation().result(pair) for pair in PAIRS]
    times = ("inference_seconds", "from_store")
    assert [{k: v for k, v in r.items() if k not in times} for r in again] == [
        {k: v for k, v in r.items() if k not in times} for r in result
    ]
    for path, whole in before.items():
        if not path.name.startswith("seconds-"):
            assert path.read_bytes() == whole, path
