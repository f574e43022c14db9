"""Parquet format of a shard: columns, metadata and validation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import from_parquet
from fer_models.artifacts.json_io import parse_json
from fer_models.classifiers.base import ANSWERED, SUM_TOLERANCE
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.store.predictions import PredictionTable
from fer_models.text_column import TextColumn

SCHEMA_VERSION = 2
#: The metadata field of a shard's Parquet file that holds everything that is not a column.
_METADATA = b"fer-models"
_METADATA_TYPES = {
    "subject": dict, "key": str, "shard": int, "n": int, "has_probabilities": bool, "provenance": dict
}  # fmt: skip
_SUBJECT_FIELDS = ("dataset", "split", "restoration", "model")
_OPTIONAL_SUBJECT_FIELDS = ("corruption", "prompt")
_LABELS = pa.array(LABELS)
_SCHEMA = pa.schema(
    [("face", pa.string()), ("index", pa.int32()), ("truth", pa.string()), ("answer", pa.string())]
    + [(f"p_{label}", pa.float32()) for label in LABELS]
    + [("status", pa.string()), ("text", pa.string())]
)


def encode(predictions: PredictionTable, metadata: Mapping[str, Any]) -> pa.Table:
    """Convert predictions to the Parquet table of a shard.

    Args:
        predictions: probabilities are stored as float32.
        metadata: `subject`, `key`, `shard`, `n` and `provenance`.

    Raises:
        ValueError: `decode` would reject the table.
    """
    probabilities = predictions.probabilities.astype(np.float32)
    _check(replace(predictions, probabilities=probabilities.astype(np.float64)))
    columns: dict[str, Any] = {
        "face": predictions.faces.strings,
        "index": predictions.index,
        "truth": _LABELS.take(predictions.truth),
        "answer": _LABELS.take(pa.array(predictions.answer, mask=predictions.answer < 0)),
        "status": predictions.status.strings,
        "text": predictions.text.strings,
    }
    for emotion in EMOTIONS:
        p = probabilities[:, emotion]
        columns[f"p_{emotion.label}"] = pa.array(p, mask=np.isnan(p))
    fields = {"schema": SCHEMA_VERSION, "has_probabilities": predictions.has_probabilities, **metadata}
    schema = _SCHEMA.with_metadata({_METADATA: json.dumps(fields, sort_keys=True)})
    return pa.table({f.name: columns[f.name] for f in _SCHEMA}, schema=schema)


def decode(content: bytes) -> tuple[PredictionTable, dict[str, Any]]:
    """Read the predictions and the metadata in the bytes of a shard.

    Raises:
        OSError, ValueError: it is no valid shard (one of `checksummed_files.INVALID`).
    """
    table = from_parquet(content)
    metadata = _parse_metadata((table.schema.metadata or {}).get(_METADATA))
    if table.schema.remove_metadata() != _SCHEMA:
        raise ValueError("it has other columns than this version of fer-models writes")
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    if any(columns[name].null_count for name in ("face", "index", "truth", "status", "text")):
        raise ValueError("a face, its row, label, status or text is null")
    truth, answer = _emotions(columns["truth"]), _emotions(columns["answer"])
    p = np.stack(
        [columns[f"p_{label}"].to_numpy(zero_copy_only=False).astype(np.float64) for label in LABELS], axis=1
    )
    face, status, text = (TextColumn(columns[name]) for name in ("face", "status", "text"))
    predictions = PredictionTable(
        face,
        columns["index"].to_numpy().astype(np.int64),
        truth,
        answer,
        p,
        status,
        text,
        metadata["has_probabilities"],
    )
    _check(predictions)
    return predictions, metadata


def _emotions(names: pa.Array) -> NDArray[np.int64]:
    """The emotions in a column of labels, -1 for null; int64.

    Raises:
        ValueError: a text is no label.
    """
    codes = pc.index_in(names, _LABELS)
    if codes.null_count != names.null_count:
        raise ValueError("a label is no emotion")
    emotions: NDArray[np.int64] = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return emotions


def _check(predictions: PredictionTable) -> None:
    """Check predictions against their probabilities.

    Raises:
        ValueError: a prediction is not the most probable emotion, a face without a prediction has
            probabilities, or probabilities are no distribution.
    """
    p = predictions.probabilities
    predicted = predictions.status.is_in((ANSWERED,))
    if not np.array_equal(np.isnan(p), np.repeat(~predicted[:, None], len(LABELS), axis=1)):
        raise ValueError(
            "a face has a prediction without probabilities, or probabilities without a prediction"
        )
    if ((p < 0) | (p > 1)).any():
        raise ValueError("a probability is outside 0..1")
    if (np.abs(p[predicted].sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise ValueError("the probabilities of a face do not sum to 1")
    if "" in predictions.status:
        raise ValueError("a status is an empty text")
    most_probable = np.argmax(np.nan_to_num(p, nan=-1.0), axis=1) if len(p) else np.zeros(0, dtype=np.int64)
    if not np.array_equal(np.where(predicted, most_probable, -1), predictions.answer):
        raise ValueError("a prediction is not the most probable emotion")


def _parse_metadata(text: bytes | None) -> dict[str, Any]:
    """Parse the metadata of a shard.

    Raises:
        ValueError: a field is missing or has another type.
    """
    if text is None:
        raise ValueError("it was not written by fer-models")
    metadata = parse_json(text)
    if not isinstance(metadata, dict) or metadata.get("schema") != SCHEMA_VERSION:
        raise ValueError("its metadata has another layout than this version of fer-models writes")
    if wrong := [name for name, kind in _METADATA_TYPES.items() if type(metadata.get(name)) is not kind]:
        raise ValueError(f"its metadata has no valid {wrong[0]}")
    subject, environment = metadata["subject"], metadata["provenance"].get("environment", {})
    optional = [subject.get(name) for name in _OPTIONAL_SUBJECT_FIELDS]
    if not all(isinstance(subject.get(name), str) for name in _SUBJECT_FIELDS) or not all(
        value is None or isinstance(value, str) for value in optional
    ):
        raise ValueError("its metadata does not name a subject")
    if metadata["n"] < 1 or not isinstance(environment, dict):
        raise ValueError("its metadata has no faces, or an environment of another type")
    return metadata
