"""Batches: prepared ahead in another thread, in order, and halved where memory runs out."""

import threading
import weakref

import numpy as np
import pytest
from fakes import pipeline, toy_faces
from hypothesis import given
from hypothesis import strategies as st
from small_networks import ORDER, classifier, small_network

from fer_models.classifiers.base import Predictions
from fer_models.datasets.base import FaceSet
from fer_models.errors import ImageError, PredictionError, RestorationError
from fer_models.inference.batches import BatchLoop, SmallerBatchWarning, Steps
from fer_models.inference.loop import no_count
from fer_models.inference.pipeline import Pipeline
from fer_models.restorers.base import Raw
from fer_models.zoo.spec import ModelSpec


class Numbers:
    """Images of one pixel, whose value is their row."""

    def __init__(self, n, unreadable=None):
        self.n, self.unreadable = n, unreadable

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.unreadable:
            raise ImageError(f"{index} cannot be read")
        return np.full((1, 1), index, dtype=np.uint8)


def numbered(n, unreadable=None):
    return FaceSet("numbers", "test", Numbers(n, unreadable), np.zeros(n, dtype=np.int64))


def values(faces):
    return [int(face[0, 0, 0]) for face in faces]


STEPS = Steps(values, list)


@given(n=st.integers(1, 60), batch=st.integers(1, 20), shard=st.integers(1, 30), data=st.data())
def test_any_shards_give_their_faces_in_order(n, batch, shard, data):
    """Also if some shards are left out: those that a run before has stored."""
    shards = [slice(start, min(start + shard, n)) for start in range(0, n, shard)]
    kept = data.draw(
        st.lists(st.sampled_from(shards), unique_by=lambda s: s.start).map(
            lambda s: sorted(s, key=lambda x: x.start)
        )
    )
    counted = []
    loop = BatchLoop(STEPS, numbered(n), batch, counted.append)
    for rows in kept:
        results = loop(rows)
        assert [value for result in results for value in result] == list(range(n))[rows]
        assert all(len(result) <= batch for result in results)
    assert sum(counted) == sum(rows.stop - rows.start for rows in kept)


def test_the_next_batch_is_prepared_while_one_is_computed():
    prepared, first_is_computed = [], threading.Event()

    def prepare(faces):
        prepared.append(threading.current_thread().name)
        if len(prepared) == 2:
            first_is_computed.set()
        return values(faces)

    def compute(batch):
        assert first_is_computed.wait(timeout=30)  # only the other thread can set it
        return batch

    assert BatchLoop(Steps(prepare, compute), numbered(4), 2, no_count)(slice(0, 4)) == [[0, 1], [2, 3]]
    assert prepared[0] != prepared[1]


def test_an_image_that_cannot_be_read_fails_its_own_batch_only():
    loop = BatchLoop(STEPS, numbered(8, unreadable=5), 2, no_count)
    assert loop(slice(0, 4)) == [[0, 1], [2, 3]]
    with pytest.raises(ImageError, match="5 cannot be read"):
        loop(slice(4, 8))


OUT_OF_MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to"),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
]


class Limited:
    """A model that runs out of memory on more than some faces."""

    def __init__(self, most, error):
        self.most, self.error, self.sizes = most, error, []

    def predict(self, faces):
        self.sizes.append(len(faces))
        if len(faces) > self.most:
            raise self.error
        return Predictions.from_probabilities(np.full((len(faces), 7), 1 / 7))


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_and_later_ones_start_smaller(error):
    model = Limited(3, error)
    loop = BatchLoop(pipeline(model).prediction_steps(), numbered(20), 8, no_count)
    with pytest.warns(SmallerBatchWarning) as caught:
        results = loop(slice(0, 20))
    assert sum(map(len, results)) == 20
    assert [str(w.message).split(".")[0] for w in caught] == [
        "A batch of 8 faces does not fit into memory",
        "A batch of 4 faces does not fit into memory",
    ]
    assert model.sizes == [8, 4, 2, 2, 4, 2, 2, *[2] * 6]


def test_a_batch_that_does_not_fit_is_not_kept_while_its_halves_are_computed():
    batches = []

    class Batch(list):
        """Can have weak references, unlike a list."""

    def prepare(faces):
        batch = Batch(faces)
        batches.append(weakref.ref(batch))
        return batch

    def compute(batch):
        if len(batch) > 2:
            raise PredictionError("too many") from MemoryError()
        return [len(part()) for part in batches if part() is not None]

    loop = BatchLoop(Steps(prepare, compute), numbered(8), 4, no_count)
    with pytest.warns(SmallerBatchWarning):
        results = loop(slice(0, 8))
    assert 4 not in results[0]


@pytest.mark.parametrize("kind", [PredictionError, RestorationError])
def test_a_batch_that_does_not_fit_while_it_is_prepared_or_restored_is_halved_too(kind):
    sizes = []

    def prepare(faces):
        sizes.append(len(faces))
        if len(faces) > 2:
            raise kind("too many") from MemoryError()
        return values(faces)

    with pytest.warns(SmallerBatchWarning, match="A batch of 4 faces"):
        results = BatchLoop(Steps(prepare, list), numbered(8), 4, no_count)(slice(0, 8))
    assert results == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert sizes.count(4) == 1


def test_a_batch_that_fits_only_after_the_one_before_is_prepared_again_and_not_halved():
    has_failed = threading.Event()

    def prepare(faces):
        if values(faces)[0] == 2 and not has_failed.is_set():
            has_failed.set()
            raise PredictionError("no memory beside the batch before") from MemoryError()
        return values(faces)

    def compute(batch):
        assert has_failed.wait(timeout=30)  # the other thread prepares the second batch
        return batch

    assert BatchLoop(Steps(prepare, compute), numbered(4), 2, no_count)(slice(0, 4)) == [[0, 1], [2, 3]]


def test_another_error_halves_nothing():
    model = Limited(3, RuntimeError("a bug"))
    loop = BatchLoop(pipeline(model).prediction_steps(), numbered(20), 8, no_count)
    with pytest.raises(PredictionError, match="a bug"):
        loop(slice(0, 20))
    assert model.sizes == [8]


def test_a_single_face_that_does_not_fit_is_an_error():
    with pytest.warns(SmallerBatchWarning), pytest.raises(PredictionError, match="memory"):
        BatchLoop(pipeline(Limited(0, MemoryError())).prediction_steps(), numbered(4), 4, no_count)(
            slice(0, 4)
        )


def test_the_two_steps_of_a_network_give_what_predict_gives():
    faces = toy_faces(10)
    spec = ModelSpec("small", lambda runtime: None, labels=ORDER)
    whole = Pipeline(None, Raw(), classifier(small_network()), spec, "raw")
    rows = BatchLoop(whole.prediction_steps(), faces, 4, no_count)(slice(0, 10))
    np.testing.assert_array_equal(
        Predictions.joined(rows).probabilities,
        np.concatenate(
            [whole.predict(faces.faces(range(i, min(i + 4, 10)))).probabilities for i in (0, 4, 8)]
        ),
    )


class Promising:
    """A third-party model with `preprocess` and `infer` that its `predict` does not use."""

    def preprocess(self, faces):
        raise AssertionError("not called")

    infer = preprocess

    def predict(self, faces):
        return Predictions.from_probabilities(np.full((len(faces), 7), 1 / 7))


def test_a_model_that_makes_no_promise_is_asked_by_predict():
    rows = BatchLoop(pipeline(Promising()).prediction_steps(), toy_faces(7), 4, no_count)(slice(0, 7))
    assert sum(map(len, rows)) == 7
