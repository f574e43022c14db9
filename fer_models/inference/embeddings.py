"""The directions that a two-tower model gives to faces, kept like answers: whatever is asked with new words
looks at no face again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import from_parquet
from fer_models.classifiers.base import Embedding
from fer_models.datasets.base import FaceSet
from fer_models.errors import PredictionError
from fer_models.images import Face
from fer_models.inference.loop import Progress, look
from fer_models.restorers.base import Restorer
from fer_models.store.partition import ShardedFolder
from fer_models.third_party_code import contained

_METADATA = b"fer-models-features"


@dataclass(frozen=True)
class EmbeddingPartition(ShardedFolder[NDArray[np.float32]]):
    """One model's directions of one set of faces, restored one way."""

    def write(self, shard: int, features: NDArray[np.float32]) -> None:
        """Write one shard, float32 (rows, d). Call it under `locked`."""
        metadata = {"key": self.key, "shard": shard}
        columns = {
            "face": list(self.faces[self.rows(shard)]),
            "features": pa.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1]),
        }
        self._write(shard, pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(metadata)}))

    def read(self) -> NDArray[np.float32]:
        """The directions of all faces, float32 (n, d), in canonical order.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        return np.concatenate(self._contents())

    def _parse(self, shard: int, content: bytes) -> NDArray[np.float32]:
        table = from_parquet(content)
        metadata = json.loads((table.schema.metadata or {}).get(_METADATA, b"null"))
        if not isinstance(metadata, dict) or metadata.get("key") != self.key:
            raise ValueError("it holds what another model computed")
        faces, column = table["face"].to_pylist(), table["features"].combine_chunks()
        if tuple(faces) != self.faces[self.rows(shard)] or column.type.value_type != pa.float32():
            raise ValueError("it holds other faces, or other columns")
        features: NDArray[np.float32] = (
            column.flatten().to_numpy(zero_copy_only=False).reshape(len(faces), -1)
        )
        if not np.isfinite(features).all():
            raise ValueError("a value is not a number")
        return features


def shelf(root: Path, name: str, parts: Mapping[str, Any], faces: tuple[str, ...]) -> EmbeddingPartition:
    """Where under `root` the directions are kept that `parts` decide (the identities of model, restorer and
    preparation).
    """
    key = hashlib.sha256(
        json.dumps([parts, hashlib.sha256("".join(faces).encode()).hexdigest()], sort_keys=True).encode()
    ).hexdigest()
    return EmbeddingPartition(root / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{key[:16]}", key, faces)


def embed(
    shelf: EmbeddingPartition,
    faces: FaceSet,
    order: NDArray[np.int64],
    load: Callable[[], tuple[Restorer, Embedding]],
    *,
    name: str,
    restoration: str,
    batch_size: int,
    progress: Progress = lambda n: None,
) -> NDArray[np.float32]:
    """Look at the faces that `shelf` misses, and read all; arguments as in `run.answer`.

    Raises:
        PredictionError, RestorationError, StoreError: the model, the restorer or the store broke its
            contract; shards written before stay.
    """

    def ask(model: Embedding, batch: list[Face]) -> NDArray[np.float32]:
        return _checked(model, name, batch)

    def write(shard: int, parts: list[NDArray[np.float32]], seconds: float) -> None:
        if len(widths := {part.shape[1] for part in parts}) > 1:
            raise PredictionError(
                f"Model {name!r} embeds some faces in {min(widths)} numbers and others in {max(widths)}. They must be as many."
            )
        shelf.write(shard, np.concatenate(parts))

    look(
        shelf,
        faces,
        order,
        load,
        ask,
        write,
        restoration=restoration,
        batch_size=batch_size,
        progress=progress,
    )
    return shelf.read()


def _checked(model: Embedding, name: str, faces: list[Face]) -> NDArray[np.float32]:
    with contained(PredictionError, f"Model {name!r} failed to embed {len(faces)} faces"):
        given = np.asarray(model.embed(faces))
    if given.dtype.kind not in "fiu":
        raise PredictionError(
            f"Model {name!r} embedded {len(faces)} faces as an array of {given.dtype}; an embedding is float32 (n, d)."
        )
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused below
        found = given.astype(np.float32)  # a copy: a model may use its buffer again
    if found.ndim != 2 or len(found) != len(faces) or found.shape[1] < 1 or not np.isfinite(found).all():
        raise PredictionError(
            f"Model {name!r} embedded {len(faces)} faces as an array of shape {found.shape}, or with values that are no numbers."
        )
    return found
