"""CLIP ViT-B-32 here and in CLIP_benchmark: same weights, faces and prompts.

    pip install --no-deps clip-benchmark
    python benchmarks/clip_throughput.py
    python benchmarks/clip_throughput.py --weights open_clip_model.safetensors --data-root FER2013_FOLDER

Both classify the same faces as PNG, in turns: CLIP_benchmark's `run_classification` with its default settings
(automatic mixed precision, batches of 64, four loading processes) and in float32; and an evaluation of this
package, down to stored predictions, in float32 and in the precision of `auto`. Without `--weights` they are
random, which changes no time. It prints how many answers are those of CLIP_benchmark in float32, and last
the ratios of speeds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cnn_throughput
import numpy as np
import open_clip
import safetensors.torch
import torch

from fer_models.artifacts.device import bf16_is_fast, describe_machine
from fer_models.classifiers import clip, prompts
from fer_models.config import EvalConfig
from fer_models.datasets.base import FaceSet
from fer_models.inference.runner import Combination, Runner
from fer_models.zoo import restorers
from fer_models.zoo.models import clip_spec
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import Runtime, Weights

ARCHITECTURE = "ViT-B-32"
PROMPTS = prompts.load("clip-benchmark")
BATCH, WORKERS = 64, 4
FLOAT32 = "CLIP_benchmark, float32"


def main() -> None:
    """Print one line per way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, help=f"{ARCHITECTURE} as safetensors (default: random)")
    parser.add_argument("--data-root", type=Path, help="a folder of FER-2013; by default drawn faces")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--float32-only",
        action="store_true",
        help="leave out CLIP_benchmark's default mode, which is slow without instructions for bf16",
    )
    args = parser.parse_args()
    print(f"{describe_machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cnn_throughput.write_faces(root / "faces", args.data_root, args.faces)
        weights = args.weights or random_weights(root / "weights.safetensors")
        evaluations = {precision: Evaluation(root, weights, precision) for precision in ("float32", "auto")}
        faces = evaluations["float32"].faces
        peers = {FLOAT32: peer(weights, faces, amp=False)}
        if not args.float32_only:
            peers["CLIP_benchmark, mixed precision"] = peer(weights, faces, amp=True)
        ways: dict[str, Callable[[], np.ndarray]] = {
            "fer-models, float32": evaluations["float32"],
            f"fer-models, auto ({'bf16' if bf16_is_fast('cpu') else 'float32'} here)": evaluations["auto"],
        }
        compare(peers, ways, len(faces), args.rounds)


def compare(
    peers: dict[str, Callable[[], np.ndarray]], own: dict[str, Callable[[], np.ndarray]], n: int, rounds: int
) -> None:
    """Time all ways in turns, and print our speed as a multiple of each peer's."""
    ways = peers | own
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            answers[name] = way()
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        agreement = float((answers[name] == answers[FLOAT32]).mean())
        print(f"{name}: {n / median(values):.1f} faces/s, {agreement:.2%} of the answers of float32")
    for name in own:
        for other in peers:
            ratios = [one / two for one, two in zip(seconds[other], seconds[name], strict=True)]
            print(f"{name} against {other}: ratio {median(ratios):.2f}")


def random_weights(path: Path) -> Path:
    """Write a network with random weights."""
    torch.manual_seed(0)
    model = clip.create(ARCHITECTURE)
    safetensors.torch.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


class Evaluation:
    """An evaluation with an empty store each time; the model is loaded before."""

    def __init__(self, root: Path, weights: Path, precision: str) -> None:
        self.root, self.runs = root, 0
        source = Weights(lambda: weights, "")
        self.spec = clip_spec(
            "clip",
            ARCHITECTURE,
            source,
            lambda path, prompt_set, runtime: clip.load(
                path, prompt_set, architecture=ARCHITECTURE, precision=runtime.precision, device="cpu"
            ),
            PROMPTS,
        )
        self.precision = precision
        self.first = self.runner()
        self.first.classifier("clip")

    @property
    def faces(self) -> FaceSet:
        """The faces in canonical order."""
        return self.first.data.faces

    def runner(self) -> Runner:
        """A run with an empty store."""
        self.runs += 1
        options = EvalConfig(
            dataset="fer2013",
            data_root=self.root / "faces",
            split="private_test",
            runtime=Runtime("cpu", self.precision),
            store=self.root / f"{self.precision}-{self.runs}" / "store",
        )
        return Runner(options, Registry("model", self.spec), Registry("restoration", restorers.RAW))

    def __call__(self) -> np.ndarray:
        """The answers, in canonical order."""
        run = self.runner()
        run._loader._models = self.first._loader._models
        return run.predict(Combination("clip", "raw")).predictions.answer


class Pictures(torch.utils.data.Dataset[Any]):
    """The encoded faces in canonical order, decoded and prepared one by one, as CLIP_benchmark's are."""

    def __init__(self, encoded: list[bytes], transform: Any) -> None:
        self.encoded, self.transform = encoded, transform

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import io

        from PIL import Image

        return self.transform(Image.open(io.BytesIO(self.encoded[index]))), 0


def peer(weights: Path, faces: FaceSet, *, amp: bool) -> Callable[[], np.ndarray]:
    """CLIP_benchmark on the same faces; encoding the texts is not timed, here as there."""
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier

    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    model.load_state_dict(safetensors.torch.load_file(weights))
    model.eval()
    names = [words[0] for words in PROMPTS.words]
    templates = [template.format("{c}") for template in PROMPTS.templates]
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    classifier = zero_shot_classifier(model, tokenizer, names, templates, "cpu", amp=amp)
    pictures = Pictures([png(faces, i) for i in range(len(faces))], transform)

    def classify() -> np.ndarray:
        loader = torch.utils.data.DataLoader(pictures, batch_size=BATCH, shuffle=False, num_workers=WORKERS)
        logits, _ = run_classification(model, classifier, loader, "cpu", amp=amp)
        return logits.argmax(dim=1).numpy()

    return classify


def png(faces: FaceSet, index: int) -> bytes:
    """One face as a PNG file in memory."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(faces.face(index)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
