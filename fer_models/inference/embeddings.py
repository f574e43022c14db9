"""Face embeddings of two-tower models, stored like predictions: a new prompt set embeds no face again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import from_parquet
from fer_models.artifacts.file_names import unique_name
from fer_models.datasets.base import FaceSet
from fer_models.errors import PredictionError, StoreError
from fer_models.inference.batches import BatchLoop
from fer_models.inference.loop import Compute, fill_missing_shards, no_count
from fer_models.inference.pipeline import Pipeline
from fer_models.progress import Progress
from fer_models.store.partition import ShardedFolder
from fer_models.text_column import TextColumn

_METADATA = b"fer-models-features"


@dataclass(eq=False)
class EmbeddingPartition(ShardedFolder[NDArray[np.float32]]):
    """Embeddings of one set of faces by one model after one restoration."""

    def write(self, shard: int, embeddings: NDArray[np.float32]) -> None:
        """Write one shard, float32 (rows, d). Call it under `locked`."""
        metadata = {"key": self.key, "shard": shard}
        columns = {
            "face": self.faces[self.rows(shard)].strings,
            "features": pa.FixedSizeListArray.from_arrays(embeddings.ravel(), embeddings.shape[1]),
        }
        self._write(shard, pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(metadata)}))

    def read(self) -> NDArray[np.float32]:
        """The embeddings of all faces, float32 (n, d), in canonical order.

        Raises:
            StoreError: a shard is missing or damaged, or has more numbers per face than another.
        """
        shards = self._contents()
        if len(widths := {embeddings.shape[1] for embeddings in shards}) > 1:
            raise StoreError(
                f"{self.folder}: the model embedded some faces in {min(widths)} numbers and others in "
                f"{max(widths)}. The number must be the same for all faces. Correct the model, delete this "
                "folder, and run again."
            )
        return np.concatenate(shards)

    def _parse(self, shard: int, content: bytes) -> NDArray[np.float32]:
        table = from_parquet(content)
        metadata = json.loads((table.schema.metadata or {}).get(_METADATA, b"null"))
        if not isinstance(metadata, dict) or metadata.get("key") != self.key:
            raise ValueError("it holds what another model computed")
        faces, column = table["face"].to_pylist(), table["features"].combine_chunks()
        if self.faces[self.rows(shard)] != faces or column.type.value_type != pa.float32():
            raise ValueError("it holds other faces, or other columns")
        values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            raise ValueError("a value is not a number")
        return values.reshape(len(faces), -1)


def embedding_partition(
    root: Path, name: str, identity: Mapping[str, Any], faces: Sequence[str]
) -> EmbeddingPartition:
    """The folder of the embeddings of some faces.

    Args:
        root: its parent.
        identity: everything that decides the embeddings besides the faces: model, restorer; as JSON.
        name: readable part of the folder's name.
        faces: the pixel hash of each face, in canonical order.
    """
    key = hashlib.sha256(
        json.dumps([identity, hashlib.sha256("".join(faces).encode()).hexdigest()], sort_keys=True).encode()
    ).hexdigest()
    return EmbeddingPartition(root / unique_name(name, key), key, TextColumn.of(faces))


def embed_missing_shards(
    partition: EmbeddingPartition,
    faces: FaceSet,
    load: Callable[[], Pipeline],
    batch_size: int,
    progress: Progress = no_count,
) -> NDArray[np.float32]:
    """Embed the faces whose shards are missing, and read all embeddings, float32 (n, d).

    Args:
        partition: the folder of the embeddings.
        faces: in canonical order.
        load: returns the pipeline; called only if a shard is missing.
        batch_size: faces per forward pass.
        progress: called with the number of faces that are embedded.

    Raises:
        PredictionError, RestorationError, StoreError: the model, the restorer or the store broke its
            contract. Shards written before stay.
    """

    def load_embed() -> Compute[NDArray[np.float32]]:
        pipeline = load()
        loop = BatchLoop(pipeline.embedding_steps(), faces, batch_size, progress)

        def embed(rows: slice) -> NDArray[np.float32]:
            batches = loop(rows)
            if len(widths := {batch.shape[1] for batch in batches}) > 1:
                raise PredictionError(
                    f"Model {pipeline.model.name!r} embeds some faces in {min(widths)} numbers "
                    f"and others in {max(widths)}. The number must be the same for all faces."
                )
            return np.concatenate(batches)

        return embed

    def write(shard: int, embeddings: NDArray[np.float32], seconds: float) -> None:
        partition.write(shard, embeddings)

    fill_missing_shards(partition, load_embed, write, progress)
    return partition.read()
