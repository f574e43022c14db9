"""`fer-models train`: train a network by its recipe."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.cli.common import Commands, console, data_options, load_faces
from fer_models.training.recipes import CLIP_NANO, GFPGAN_NANO, PHI3V_NANO

#: Models that are trained in minutes on eyes that were trained before: the module, and its recipe.
_SHORT = {
    CLIP_NANO: ("fer_models.training.clip", "ContrastiveRecipe"),
    PHI3V_NANO: ("fer_models.training.vlm", "SpeakingRecipe"),
}

if TYPE_CHECKING:
    from fer_models.datasets.base import FaceSet


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser(
        "train", help="train a network by its recipe; a killed run goes on when started again"
    )
    parser.add_argument(
        "model",
        help="vgg19, resnet50, efficientnet_b0, clip-nano, phi3v-nano-vision, phi3v-nano or gfpgan-nano; NAME-ferplus learns from FER+'s votes",
    )
    data_options(parser, default="fer2013")
    parser.add_argument(
        "--no-synthetic",
        action="store_true",
        help="leave the drawn faces out (by default they are added to another dataset)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the weights go (default: the user's weights folder, where `pytest evals` finds them)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="train on N faces only, stratified")
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int, metavar="N")
    parser.add_argument("--lr", type=float, metavar="RATE")
    parser.add_argument("--precision", choices=("auto", "float32", "bf16"))
    parser.add_argument(
        "--infobatch-ratio",
        type=float,
        metavar="SHARE",
        help="leave this share of the learnt faces out of each epoch (a network's recipe only)",
    )
    parser.add_argument(
        "--teacher",
        metavar="NAME[+NAME]",
        help="learn from the answers of these trained networks too, and not of the recipe's (a network's recipe only)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu"),
        help="auto uses every accelerator that accelerate finds",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--init-from",
        type=Path,
        metavar="FILE",
        help="go on from trained weights: half the peak rate, no small faces, no teacher but a given one",
    )
    parser.add_argument("--no-resume", action="store_true", help="ignore a checkpoint of an earlier run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, with a progress bar."""
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.errors import UnknownNameError, UsageError
    from fer_models.training.recipes import RECIPES, adapt

    if args.model not in (*RECIPES, *_SHORT, GFPGAN_NANO):
        raise UnknownNameError("training recipe", args.model, [*RECIPES, *_SHORT, GFPGAN_NANO])
    if args.model in _SHORT and (
        args.init_from or args.precision or args.teacher or args.infobatch_ratio is not None
    ):
        told = "is trained in its own precision, always from the start. Leave --init-from, --precision, --teacher and --infobatch-ratio out."
        raise UsageError(f"{args.model} {told}")
    if args.model == GFPGAN_NANO and (args.teacher or args.infobatch_ratio is not None):
        raise UsageError(
            f"{GFPGAN_NANO} learns to give faces back, not to answer. Leave --teacher and --infobatch-ratio out."
        )
    train, validation = datasets.training_splits(args.dataset, args.data_root)
    faces = [load_faces(args, train)]
    held_out = load_faces(args, validation)
    if args.dataset != "synthetic" and not args.no_synthetic:
        faces.append(datasets.load("synthetic", "train"))
    if args.limit is not None:
        faces = [f.subsample(max(1, args.limit * len(f) // sum(map(len, faces)))) for f in faces]
        held_out = held_out.subsample(args.limit)
    output = args.output or weights.user_weights_dir()
    screen = console()
    screen.quiet = os.environ.get("RANK", "0") != "0"  # of several processes, one speaks
    given = {"epochs": args.epochs, "batch_size": args.batch_size, "lr": args.lr}
    if args.model == GFPGAN_NANO:
        return _restorer(args, faces, held_out, output, screen, {**given, "precision": args.precision})
    with progress(args.model, screen) as report:
        # torch, timm and accelerate, open_clip, or transformers: only now that the arguments are sound
        if args.model in _SHORT:
            module, recipe_class = _SHORT[args.model]
            trainer = importlib.import_module(module)
            recipe = replace(
                getattr(trainer, recipe_class)(), **{k: v for k, v in given.items() if v is not None}
            )
            outcome = trainer.train(
                recipe, faces, held_out, output, seed=args.seed, device=args.device, report=report
            )
        else:
            from fer_models.training import supervised

            base = RECIPES[args.model] if args.init_from is None else RECIPES[args.model].continued()
            whole = adapt(
                base,
                **given,
                precision=args.precision,
                infobatch_ratio=args.infobatch_ratio,
                teacher=args.teacher,
            )
            outcome = supervised.train(
                args.model, whole, faces, held_out, output, report=report, **_how(args)
            )
    for record in outcome.history:
        scored = (
            f", {held_out.name} {record['validation_accuracy']:.4f}"
            if "validation_accuracy" in record
            else ""
        )
        screen.print(
            f"epoch {record['epoch']:.0f}: loss {record['loss']:.4f}, {record['seconds']:.0f} s, {record['images_per_second']:.0f} faces/s{scored}"
        )
    screen.print(
        f"kept epoch {outcome.best_epoch} ({outcome.best_accuracy:.4f} on {held_out.name}): {outcome.weights}"
    )
    return 0


def _how(args: argparse.Namespace) -> dict[str, Any]:
    """What the user said of a run that is no part of its recipe; a long run, which can be gone on with."""
    return {"seed": args.seed, "device": args.device, "resume": not args.no_resume, "start": args.init_from}


def _restorer(
    args: argparse.Namespace,
    faces: list[FaceSet],
    held_out: FaceSet,
    output: Path,
    screen: Any,
    given: dict[str, Any],
) -> int:
    """Train a restoration network; `given` are the user's own values of its recipe, None where there is
    none.
    """
    from fer_models.training import restoration

    base = (
        restoration.RestorationRecipe()
        if args.init_from is None
        else restoration.RestorationRecipe().continued()
    )
    recipe = replace(base, **{k: v for k, v in given.items() if v is not None})
    with progress(args.model, screen) as report:
        outcome = restoration.train(args.model, recipe, faces, held_out, output, report=report, **_how(args))
    for record in outcome.history:
        speed = f"{record['seconds']:.0f} s, {record['images_per_second']:.0f} faces/s"
        scored = (
            f"{held_out.name} {record['validation_distance']:.4f} away, {record['validation_psnr']:.2f} dB"
        )
        screen.print(f"epoch {record['epoch']:.0f}: loss {record['loss']:.4f}, {speed}, {scored}")
    before, after = outcome.unrestored, outcome.best
    gained = f"{after.distance:.4f} away, {after.psnr:.2f} dB on {held_out.name}; unrestored {before.distance:.4f}, {before.psnr:.2f} dB"
    screen.print(f"kept epoch {outcome.best_epoch} ({gained}): {outcome.weights}")
    return 0


@contextmanager
def progress(title: str, screen: Any) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """A bar that `loop.train` reports to; one line per epoch where nobody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task(title, total=1, told="")

        def show(epoch: str, step: int, steps: int, figures: dict[str, float]) -> None:
            told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            bar.update(task, description=epoch, completed=step, total=steps, told=told)
            if step == steps and not screen.is_terminal:
                screen.print(f"{epoch}: {told or 'done'}")

        yield show
