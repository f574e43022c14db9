"""How close an evaluation comes to the speed of its network alone.

    python benchmarks/cnn_throughput.py
    python benchmarks/cnn_throughput.py --data-root FER2013_FOLDER --compile

Two computations over the same faces, in turns: the network of a model as timm builds it, in eager float32 on
prepared tensors; and the whole evaluation, from encoded images in Parquet to stored predictions. It prints
the ratio of their speeds for each model, and how far the probabilities of both are apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from fer_models import datasets, images
from fer_models.artifacts.device import describe_machine
from fer_models.artifacts.json_io import parse_json
from fer_models.artifacts.safetensors_io import read
from fer_models.classifiers import cnn
from fer_models.classifiers.architecture import Architecture
from fer_models.config import EvalConfig
from fer_models.inference.runner import Runner
from fer_models.zoo import models, restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, Runtime

MODELS = {"vgg19": models.VGG19, "resnet50": models.RESNET50, "efficientnet_b0": models.EFFICIENTNET_B0}


def main() -> None:
    """Print one line per model; the ratio is the last value."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, help="a folder of FER-2013; by default drawn faces")
    parser.add_argument("--faces", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", action="append", choices=tuple(MODELS))
    parser.add_argument("--compile", action="store_true", help="compile the network of the evaluation")
    args = parser.parse_args()
    print(f"{describe_machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_faces(root / "faces", args.data_root, args.faces)
        for name in args.model or MODELS:
            compare(name, root, args.rounds, compiled=args.compile)


def write_faces(folder: Path, data_root: Path | None, n: int) -> None:
    """Write `n` faces as PNG in Parquet, in the layout of the Hub's copies of FER-2013."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    name, split = ("synthetic", "test") if data_root is None else ("fer2013", "private_test")
    faces = datasets.load(name, split, data_root)
    rows = np.arange(n) % len(faces)
    encoded = []
    for row in rows:
        png = io.BytesIO()
        pixels = images.grey(images.resize(faces.face(int(row)), 48))
        Image.fromarray(pixels).save(png, "PNG")
        encoded.append(png.getvalue())
    folder.mkdir()
    table = pa.table({"image": encoded, "label": faces.labels[rows]})
    pq.write_table(table, folder / "private_test-00000-of-00001.parquet")


def compare(name: str, root: Path, rounds: int, *, compiled: bool) -> None:
    """Time both computations of one model."""
    spec = MODELS[name]
    options = EvalConfig(
        dataset="fer2013",
        data_root=root / "faces",
        split="private_test",
        runtime=Runtime("cpu", "float32", compiled=compiled),
    )
    path = spec.weights_path()
    assert path is not None
    state, metadata = read(path)
    network = cnn.build(Architecture(**parse_json(metadata["architecture"]))).eval()
    network.load_state_dict(state)
    networks = {
        "nchw": network,
        "nhwc": cnn.build(Architecture(**parse_json(metadata["architecture"]))).eval(),
    }
    networks["nhwc"].load_state_dict(state)
    networks["nhwc"] = networks["nhwc"].to(memory_format=torch.channels_last)
    warm = runner(options, spec, root / "warm")
    classifier = warm.classifier(name)
    stored = warm.predict((name, "raw")).predictions
    faces = warm.data.faces
    prepared = [
        torch.from_numpy(classifier.network_format.preprocess(batch)) for _, batch in faces.batches(64)
    ]
    formats = {
        "nchw": prepared,
        "nhwc": [batch.contiguous(memory_format=torch.channels_last) for batch in prepared],
    }
    seconds: dict[str, list[float]] = {"nchw": [], "nhwc": [], "evaluation": []}
    for turn in range(rounds):
        for layout, batches in formats.items():
            started = time.perf_counter()
            with torch.inference_mode():
                logits = torch.cat([networks[layout](batch) for batch in batches])
            seconds[layout].append(time.perf_counter() - started)
        run = runner(options, spec, root / f"{name}-{turn}", loader=warm)
        started = time.perf_counter()
        run.predict((name, "raw"))
        seconds["evaluation"].append(time.perf_counter() - started)
    difference = np.abs(logits.double().softmax(dim=1).numpy() - stored.probabilities).max()
    n, bare = len(faces), min(("nchw", "nhwc"), key=lambda layout: median(seconds[layout]))
    ratios = [one / two for one, two in zip(seconds[bare], seconds["evaluation"], strict=True)]
    print(
        f"{name}: network alone {n / median(seconds[bare]):.1f} faces/s ({bare}), "
        f"evaluation {n / median(seconds['evaluation']):.1f} faces/s, "
        f"largest difference of a probability {difference:.1e}, ratio {median(ratios):.3f}"
    )


def runner(options: EvalConfig, spec: ModelSpec, folder: Path, loader: Runner | None = None) -> Runner:
    """A run with an empty store; the model is that of another run, if given."""
    new = Runner(
        replace(options, store=folder / "store"),
        Registry("model", spec),
        Registry("restoration", restorers.RAW),
    )
    if loader is not None:
        new._loader._models = loader._loader._models
    return new


if __name__ == "__main__":
    main()
