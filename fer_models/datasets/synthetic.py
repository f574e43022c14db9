"""The embedded dataset: synthetic faces, so that `pytest evals` runs with nothing to download.

`synthetic_drawing` draws each face. Drawing a split takes some seconds, so its pixels are cached in the
user's cache folder. Cached pixels are used only if they have the pinned sha256; else they are drawn again.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.hashing import sha256_of_sources, warn_damaged
from fer_models.artifacts.resources import ASSETS
from fer_models.datasets.base import FaceSet
from fer_models.datasets.synthetic_camera import SIZE
from fer_models.datasets.synthetic_drawing import draw
from fer_models.emotions import EMOTIONS
from fer_models.errors import UnknownNameError

#: Faces per split, and the first word of the seed of each of its faces.
SPLITS: dict[str, int] = {"train": 4200, "validation": 1050, "test": 1050}
#: The sha256 of all pixels of each split, one face after the other. The shipped weights were trained on these
#: pixels and the baselines measured on them: a change needs new weights and baselines.
PIXELS = {
    "train": "ccd3ad96a2bfac000db18a2942e1cbc7cb1f58e6b4a785f64955407c33b7a8ae",
    "validation": "7140baeef1191e1795ad9c465a26ff7abf601bc85d4afd5467a329a8a696159c",
    "test": "575c3f1244e0be21d4f0575100800954309319287c4874bb32dfb9231526ec4c",
}


def load(split: str) -> FaceSet:
    """Load the synthetic faces of `split`: `train` (4,200), `validation` (1,050) or `test` (1,050).

    Each emotion has as many faces as every other.

    Raises:
        UnknownNameError: no such split.
    """
    if split not in SPLITS:
        raise UnknownNameError("split of synthetic", split, SPLITS)
    images, labels = _render(split)
    return FaceSet("synthetic", split, images, labels, [f"synthetic {split} {i}" for i in range(len(labels))])


@lru_cache(maxsize=3)
def _render(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(SPLITS[split], dtype=np.int64) % len(EMOTIONS)
    images = None if split in _PENDING else _read_cache(split)
    if images is None:
        chunks = _PENDING.pop(split, []) if draw_ahead(split) else []
        try:  # without chunks, another process has just cached the faces
            images = np.concatenate([chunk.result() for chunk in chunks]) if chunks else _read_cache(split)
        except Exception:  # a process was killed
            images = None
        if images is None:
            images = _draw_range(split, 0, SPLITS[split])
        _write_cache(split, images)
    images.flags.writeable = False
    return images, labels


#: The faces of a split that other processes draw at this moment, in chunks.
_PENDING: dict[str, list[Future[NDArray[np.uint8]]]] = {}


def draw_ahead(split: str) -> bool:
    """Start to draw a split in other processes, one per core, unless it is cached; `load` waits for them.

    A face takes some 4 ms, nearly all of it in the interpreter. Meanwhile this process can import its
    libraries.

    Returns:
        Whether the split is being drawn.
    """
    if split not in SPLITS or (split not in _PENDING and _read_cache(split) is not None):
        return False
    if split not in _PENDING:
        from joblib import cpu_count
        from joblib.externals.loky import ProcessPoolExecutor

        # One core is left for this process. joblib's `Parallel` is not used: with one worker it computes in
        # this process, and the next `Parallel` fails on a shared executor that it did not start itself.
        executor = ProcessPoolExecutor(max_workers=max(1, cpu_count() - 1))
        n_chunks = min(2 * cpu_count(), SPLITS[split])
        ranges = pairwise(np.linspace(0, SPLITS[split], n_chunks + 1, dtype=int))
        _PENDING[split] = [executor.submit(_draw_range, split, start, stop) for start, stop in ranges]
        executor.shutdown(wait=False)  # its processes end when all chunks are drawn
    return True


def _draw_range(split: str, start: int, stop: int) -> NDArray[np.uint8]:
    return np.stack([draw(split, i) for i in range(start, stop)])


def train_hashes() -> frozenset[str]:
    """Hashes of the training faces (`images.face_hash`), from a file, so that the leak check draws no face.

    `tests/datasets/test_synthetic.py` compares the file with the faces, and has the command that writes it.
    """
    digests = (ASSETS / "synthetic_train.sha256").read_bytes()
    return frozenset(digests[i : i + 32].hex() for i in range(0, len(digests), 32))


def source_sha256() -> str:
    """The sha256 of the modules that draw the synthetic faces."""
    return sha256_of_sources(sorted(Path(__file__).parent.glob("synthetic*.py")))


def _cache_path(split: str) -> Path:
    return Path.home() / ".cache" / "fer-models" / "synthetic" / f"{split}-{PIXELS[split][:16]}.uint8"


def _read_cache(split: str) -> NDArray[np.uint8] | None:
    """Read the cached pixels of a split; None where there are none with the pinned sha256."""
    try:
        content = _cache_path(split).read_bytes()
    except (OSError, RuntimeError):  # no such file; no home folder
        return None
    if hashlib.sha256(content).hexdigest() != PIXELS[split]:
        return None
    return np.frombuffer(content, dtype=np.uint8).reshape(SPLITS[split], SIZE, SIZE)


def _write_cache(split: str, images: NDArray[np.uint8]) -> None:
    """Cache the pixels of a split. Where that fails, the next process draws them again."""
    try:
        path = _cache_path(split)
    except RuntimeError:  # no home folder
        return
    if path.exists() and _read_cache(split) is None:
        warn_damaged(path, "its pixels do not have the known sha256")
    with suppress(OSError), atomic_write(path) as part:
        part.write_bytes(images.tobytes())
