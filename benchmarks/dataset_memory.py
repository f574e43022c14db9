"""How the memory of an evaluation grows with the number of faces.

    python benchmarks/dataset_memory.py
    python benchmarks/dataset_memory.py --faces 1000 10000

Two evaluations, each in its own process: of 10,000 and of 100,000 generated faces, from encoded images in
Parquet to stored predictions of a small CNN (timm's ResNet-10-T with random weights), and then all scores. It
prints the peak memory after each step, and the ratio of both peaks.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from fer_models.artifacts.device import describe_machine

#: Faces in a row group of the Parquet file.
ROW_GROUP = 1000
SIDE = 48


def main() -> None:
    """Print the peaks of each evaluation; the ratio is the last value."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faces", type=int, nargs=2, default=(10_000, 100_000), metavar=("FEW", "MANY"))
    args = parser.parse_args()
    print(describe_machine(), flush=True)
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for n in args.faces:
            root = Path(folder) / str(n)
            in_new_process(write_faces, root, n)
            peaks.append(in_new_process(evaluate, root))
    print(
        f"peak of {args.faces[1]:,} faces / peak of {args.faces[0]:,} faces: ratio {peaks[1] / peaks[0]:.3f}"
    )


def in_new_process(function, *arguments):
    """Call a function in a new process, so that the memory of nothing else counts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def write_faces(root: Path, n: int) -> None:
    """Write distinct faces as PNG in Parquet: noise of low contrast on a few synthetic faces."""
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    from fer_models.datasets import synthetic_drawing

    drawn = np.stack([synthetic_drawing.draw("test", i) for i in range(70)])
    rng = np.random.default_rng(0)
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    root.mkdir()
    path = root / "private_test-00000-of-00001.parquet"
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, n, ROW_GROUP):
            rows = np.arange(start, min(start + ROW_GROUP, n))
            noise = rng.integers(0, 8, (len(rows), SIDE, SIDE), dtype=np.uint8)
            encoded = []
            for pixels in drawn[rows % len(drawn)] // 8 * 8 + noise:
                png = io.BytesIO()
                Image.fromarray(pixels).save(png, "PNG", compress_level=1)
                encoded.append(png.getvalue())
            writer.write_table(pa.table({"image": encoded, "label": rows % 7}, schema))


def evaluate(root: Path) -> float:
    """Evaluate the faces in a folder with an empty store, print the peaks, and return the last, in MB."""
    import torch

    from fer_models.classifiers import cnn
    from fer_models.classifiers.architecture import Architecture
    from fer_models.config import EvalConfig
    from fer_models.emotions import LABELS
    from fer_models.evaluation import Evaluation
    from fer_models.inference.identity import Combination
    from fer_models.zoo import restorers
    from fer_models.zoo.registry import Registry
    from fer_models.zoo.spec import ModelSpec, Runtime

    def load(runtime: Runtime) -> cnn.CNN:
        torch.manual_seed(0)
        architecture = Architecture("resnet10t", size=SIDE)
        network = cnn.build(architecture, len(LABELS)).eval()
        return cnn.CNN(network, architecture, cnn.input_format(architecture, LABELS), torch.device("cpu"))

    options = EvalConfig(
        dataset="fer2013",
        data_root=root,
        split="private_test",
        runtime=Runtime("cpu", "float32"),
        store=root / "store",
        baselines=root / "baselines.json",
    )
    model = ModelSpec("resnet10t", load, "a small CNN with random weights", settings={"seed": 0})
    evaluation = Evaluation(options, Registry("model", model), Registry("restoration", restorers.RAW))
    combination, data = Combination("resnet10t", "raw"), evaluation.runner.data
    steps = {
        "libraries": lambda: None,
        "load": lambda: data.full_split,
        "hashes": data.check_readable,
        "predict": lambda: evaluation.runner.predict(combination),
        "scores": lambda: evaluation.scores.as_json(combination),
    }
    print(f"{root.name} faces", flush=True)
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        print(f"  {name:10} {time.perf_counter() - started:6.1f} s, peak {peak_memory():6.0f} MB", flush=True)
    return peak_memory()


def peak_memory() -> float:
    """The most memory that this process has used so far, in MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
