"""An image classifier here and in the pipeline of transformers: same weights and faces.

    python benchmarks/pipeline_throughput.py
    python benchmarks/pipeline_throughput.py --model FOLDER --data-root FER2013_FOLDER

Both classify the same faces as PNG, in turns: `pipeline("image-classification")` of transformers in batches
of 64, and an evaluation of this package, down to stored predictions. Without `--model` it is a ViT-Tiny with
random weights. It prints how many answers are the same, and last the ratio of speeds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import cnn_throughput
import numpy as np
import torch
import transformers
from PIL import Image

from fer_models.artifacts.device import describe_machine
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.inference.runner import Combination, Runner
from fer_models.zoo import models, resolve, restorers
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, Runtime

BATCH = 64


def main() -> None:
    """Print the speeds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder of transformers (default: a random ViT-Tiny)")
    parser.add_argument("--data-root", type=Path, help="a folder of FER-2013; by default drawn faces")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(
        f"{describe_machine()}; torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cnn_throughput.write_faces(root / "faces", args.data_root, args.faces)
        compare(root, args.model or random_vit(root / "vit"), args.rounds)


def random_vit(folder: Path) -> Path:
    """Write a ViT-Tiny (Touvron et al., arXiv:2012.12877, table 1) with random weights."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        **{"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor().save_pretrained(folder)
    return folder


def compare(root: Path, folder: Path, rounds: int) -> None:
    """Time both in turns."""
    spec = resolve.resolve_model(f"hf:model@{folder}", models.MODELS)
    warm = runner(root, spec, "warm")
    warm.classifier(spec.name)
    faces = warm.data.faces
    pictures = []
    for i in range(len(faces)):
        path = root / f"{i}.png"
        Image.fromarray(faces.face(i)).save(path)
        pictures.append(str(path))
    pipeline = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    seconds: dict[str, list[float]] = {"pipeline": [], "evaluation": []}
    for turn in range(rounds):
        started = time.perf_counter()
        replies = list(pipeline(pictures, batch_size=BATCH, top_k=1))
        seconds["pipeline"].append(time.perf_counter() - started)
        run = runner(root, spec, str(turn))
        run._loader._models = warm._loader._models
        started = time.perf_counter()
        stored = run.predict(Combination(spec.name, "raw")).predictions
        seconds["evaluation"].append(time.perf_counter() - started)
    theirs = np.array([LABELS.index(reply[0]["label"]) for reply in replies])
    ratios = [one / two for one, two in zip(seconds["pipeline"], seconds["evaluation"], strict=True)]
    n = len(faces)
    print(
        f"pipeline {n / median(seconds['pipeline']):.1f} faces/s, "
        f"evaluation {n / median(seconds['evaluation']):.1f} faces/s, "
        f"{(theirs == stored.answer).mean():.2%} of the answers are the same, ratio {median(ratios):.2f}"
    )


def runner(root: Path, spec: ModelSpec, name: str) -> Runner:
    """A run with an empty store."""
    options = EvalConfig(
        dataset="fer2013",
        data_root=root / "faces",
        split="private_test",
        runtime=Runtime("cpu", "float32"),
        store=root / name / "store",
    )
    return Runner(options, Registry("model", spec), Registry("restoration", restorers.RAW))


if __name__ == "__main__":
    main()
