"""Damaged and edited files in the other caches, and caches that cannot be written.

"Sealed" files have the right checksum in their names: what is wrong with them must be noticed by what is in
them.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from damaged_stores import BYTES, FACES, content_of, seal
from fakes import full_disk, in_canonical_order, pipeline

from fer_models.artifacts import checksummed_files, text_cache
from fer_models.classifiers import prompts
from fer_models.classifiers.base import Predictions
from fer_models.cost.store import CostStore
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning, StoreError
from fer_models.inference import embeddings
from fer_models.inference.prediction_cache import PredictionCache, PromptCache
from fer_models.inference.restoration_cache import CachedRestorer
from fer_models.robustness import prompt_search

pytestmark = pytest.mark.usefixtures("small_shards", "hang_guard")


class Looking:
    def embed(self, faces):
        return np.array(
            [[part.mean() for part in np.array_split(face, 3)] for face in faces], dtype=np.float32
        )


def embedded(root):
    order, hashes, _ = in_canonical_order(FACES)
    partition = embeddings.embedding_partition(root, "toy", {"model": 1}, hashes)
    return embeddings.embed_missing_shards(
        partition, FACES.select(order), lambda: pipeline(Looking(), name="looking"), batch_size=8
    )


def sharp(faces):
    rows = np.full((len(faces), 7), 0.05)
    rows[np.arange(len(faces)), [int(face.sum()) % 7 for face in faces]] = 0.7
    return Predictions.from_probabilities(rows, unanswered={0: "silent"}, text=["said"] * len(faces))


def predicted(root):
    memory = PredictionCache(root, "model", {"model": 1}, LABELS, sharp)
    predictions = memory.predict(FACES.faces(range(9)))
    memory.save()
    return [predictions.probabilities, *predictions.status, *predictions.text]


def prompted(root):
    memory = PromptCache(
        root, "prompts", {"model": 1}, lambda prompt_set: np.arange(28) % 7 - (len(prompt_set.templates) > 1)
    )
    actual = [memory.classify(prompts.load(name)) for name in ("plain", "openai")]
    memory.save()
    return actual


class Negative:
    def restore(self, faces):
        return [255 - face for face in faces]


def restored(root):
    return CachedRestorer(root, "negative", {"restorer": 1}, Negative).restore(FACES.faces(range(3)))


def noted(root):
    return text_cache.cached_text(
        root, "audit", "of these files", lambda: json.dumps({"copies": 7}), json.loads
    )


def cost(root):
    return [CostStore(root).get_or_measure({"phase": "inference"}, lambda: {"seconds": 0.25})["seconds"]]


def searched(root):
    truth = np.arange(70) % 7
    answer = lambda prompt_set: truth if "blurry" not in prompt_set.texts(0)[0] else (truth + 1) % 7  # noqa: E731
    result = prompt_search.search(
        answer, prompts.load("plain"), truth, examples=60, breaking_file=root / "search.json"
    )
    return [result.as_json()]


def table_edit(edit):
    return lambda b: checksummed_files.to_parquet(edit(checksummed_files.from_parquet(b)))


def drop(name):
    return table_edit(lambda table: table.drop_columns([name]))


def key(name, value):
    return table_edit(lambda table: table.replace_schema_metadata(None if value is None else {name: value}))


def doubled(name):
    return table_edit(
        lambda table: table.set_column(
            table.schema.get_field_index(name), name, pc.multiply(table[name], 2.0)
        )
    )


_ANY = {
    "empty": BYTES["empty"],
    "half": BYTES["the first half"],
    "zeros": BYTES["zeros"],
    "longer": BYTES["one byte more"],
}
_JSON = {
    text: lambda b, text=text: text.encode()
    for text in ("null", "[]", "{}", "7", '"text"', "[null]", "[[]]", '[{"kind": 1}]', "{")
}
_INFINITE = pa.FixedSizeListArray.from_arrays(pa.array([float("inf")] * 48, pa.float32()), 3)
_FEATURES = b"fer-models-features"
_PREDICTIONS = b"fer-models-predictions"
CACHES = {
    embedded: {
        "no column": drop("features"),
        "no faces": drop("face"),
        "another key": key(_FEATURES, b'{"key": "other"}'),
        "key []": key(_FEATURES, b"[]"),
        "key null": key(_FEATURES, b"null"),
        "no key": key(_FEATURES, None),
        "not JSON": key(_FEATURES, b"{"),
        "fewer rows": table_edit(lambda table: table.slice(1)),
        "lists for arrays": table_edit(
            lambda table: table.set_column(1, "features", pa.array([[1.0]] * len(table)))
        ),
        "text": table_edit(lambda table: table.set_column(1, "features", pa.array(["x"] * len(table)))),
        "float64": table_edit(
            lambda table: table.set_column(1, "features", table["features"].cast(pa.list_(pa.float64(), 3)))
        ),
        "infinite": table_edit(lambda table: table.set_column(1, "features", _INFINITE)),
    },
    predicted: {
        "no column": drop("p_sad"),
        "no status": drop("status"),
        "another key": key(_PREDICTIONS, b"other"),
        "no key": key(_PREDICTIONS, None),
        "above 1": doubled("p_happy"),
        "null faces": table_edit(
            lambda table: table.set_column(0, "face", pa.nulls(len(table), pa.string()))
        ),
        "null text": table_edit(lambda table: table.set_column(9, "text", pa.nulls(len(table), pa.string()))),
        "no probabilities": table_edit(
            lambda table: table.set_column(1, table.column_names[1], pa.nulls(len(table), pa.float32()))
        ),
        "status ok": table_edit(lambda table: table.set_column(8, "status", pa.array(["ok"] * len(table)))),
    },
    prompted: {
        "no column": drop("emotions"),
        "another key": key(_PREDICTIONS, b"other"),
        "no such emotion": table_edit(
            lambda table: table.set_column(1, "emotions", pa.array([bytes([9] * 28)] * len(table)))
        ),
        "numbers": table_edit(lambda table: table.set_column(1, "emotions", pa.array([7] * len(table)))),
        "neither": table_edit(
            lambda table: table.set_column(1, "emotions", pa.nulls(len(table), pa.binary()))
        ),
    },
    restored: {
        "text": lambda b: b"no picture",
        "no image data": lambda b: b[:60] + b[-12:],
        "a GIF": lambda b: b"GIF89a" + bytes(40),
    },
    noted: {"{": _JSON["{"], "text": lambda b: b"copies: 7", "no UTF-8": lambda b: b"\xff\xfe"},
    cost: _JSON,
    searched: {text: change for text, change in _JSON.items() if text not in ("[]", "{}")},
}
CASES = [
    pytest.param(make, change, sealed, id=f"{make.__name__}, {name}, {'sealed' if sealed else 'as it is'}")
    for make, changes in CACHES.items()
    for sealed, some in ((False, {**_ANY, **changes}), (True, changes))
    for name, change in some.items()
]


def assert_equal(actual, expected):
    if isinstance(expected, dict):
        assert actual == expected
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("make", "change", "sealed"), CASES)
def test_what_is_wrong_in_a_cache_is_computed_anew(tmp_path, make, change, sealed):
    expected = make(tmp_path)
    whole = content_of(tmp_path)
    path = tmp_path / sorted(whole)[0]
    content = change(whole[sorted(whole)[0]])
    path = seal(path, content) if sealed else path
    path.write_bytes(content)
    with pytest.warns(DamagedFileWarning) as caught:
        actual = make(tmp_path)
    assert [str(w.message).startswith(f"{path} is damaged: ") for w in caught] == [True]
    assert_equal(actual, expected)
    assert content_of(tmp_path) == whole


@pytest.mark.parametrize(
    "make", [embedded, predicted, prompted, restored, noted, cost, searched], ids=lambda make: make.__name__
)
def test_a_disk_that_is_full_from_the_start_is_told_in_a_sentence_or_costs_nothing(tmp_path, make):
    with full_disk(3):
        # Conveniences: what cannot be stored is computed again the next time.
        if make in (cost, searched, noted):
            make(tmp_path)
        else:
            with pytest.raises(StoreError, match="cannot be stored"):
                make(tmp_path)
    assert content_of(tmp_path) == {}
    make(tmp_path)


@pytest.mark.parametrize("make", [embedded, predicted, prompted, restored], ids=lambda make: make.__name__)
def test_a_cache_whose_folder_is_a_file_is_told_in_a_sentence(tmp_path, make):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be stored"):
        make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_text_whose_folder_is_a_file_is_made_each_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert noted(tmp_path / "file") == {"copies": 7}
    assert (tmp_path / "file").read_text() == "in the way"
