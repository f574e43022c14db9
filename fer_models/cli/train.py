"""`fer-models train`: train a network by its recipe."""

from __future__ import annotations

import argparse
import importlib
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.cli.common import (
    Commands,
    add_command,
    console,
    data_options,
    load_faces,
    make_output_folder,
    training_progress,
)
from fer_models.training.recipes import CLIP_NANO, GFPGAN_NANO, PHI3V_NANO, RECIPES

if TYPE_CHECKING:
    from fer_models.training.session import TrainingData, TrainingResult

#: Modules, sessions and recipes of the networks that `SupervisedTraining` does not train.
_OTHER_TRAININGS = {
    CLIP_NANO: ("fer_models.training.clip", "ClipTraining", "ContrastiveRecipe"),
    PHI3V_NANO: ("fer_models.training.vlm", "VlmTraining", "VlmRecipe"),
    GFPGAN_NANO: ("fer_models.training.restoration", "RestorationTraining", "RestorationRecipe"),
}
#: Options that replace a field of the recipe.
_RECIPE_OPTIONS = (
    "epochs", "batch_size", "lr", "precision", "infobatch_ratio", "teacher", "teacher_share",
    "consistent_teacher", "logit_adjustment",
)  # fmt: skip
_METRICS = {
    "validation_accuracy": "accuracy {:.4f}",
    "validation_distance": "distance {:.4f}",
    "validation_psnr": "PSNR {:.2f} dB",
}

_EXAMPLES = (
    "fer-models train vgg19 --dataset fer2013 --data-root FOLDER",
    "fer-models train resnet50 --dataset CLASS_FOLDERS --output weights",
)


def add(commands: Commands) -> None:
    """Add the parser of the command."""
    text = "train a network by its recipe; start a killed run again to resume it"
    parser = add_command(commands, "train", text, _EXAMPLES)
    parser.add_argument(
        "model",
        help="vgg19, resnet50, efficientnet_b0, clip-nano, phi3v-nano-vision, phi3v-nano or gfpgan-nano; "
        "NAME-ferplus is trained on FER+ votes",
    )
    data_options(parser, default="fer2013")
    parser.add_argument(
        "--no-synthetic",
        action="store_true",
        help="train without the synthetic faces (by default they are added to another dataset)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for the weights (default: the user's weights folder); the last line of the output names "
        "the file, which `pytest evals --model NAME@FILE` evaluates",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="train on N faces only, stratified")
    _add_recipe_options(parser)
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu"),
        help="auto uses every accelerator that accelerate finds",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default 0)")
    parser.add_argument(
        "--init-from",
        type=Path,
        metavar="FILE",
        help="start from trained weights, with half the peak learning rate, full-size faces, and no teacher "
        "unless --teacher is given (classification and restoration networks only)",
    )
    parser.add_argument(
        "--no-resume", action="store_true", help="start again, even if there is a checkpoint of a killed run"
    )
    parser.set_defaults(run=run)


def _add_recipe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, metavar="N", help="number of epochs")
    parser.add_argument("--batch-size", type=int, metavar="N", help="faces per update")
    parser.add_argument("--lr", type=float, metavar="RATE", help="peak learning rate")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bf16"),
        help="auto uses bf16 on devices with instructions for it",
    )
    parser.add_argument(
        "--infobatch-ratio",
        type=float,
        metavar="SHARE",
        help="leave this share of the learned faces out of each epoch (classification networks only)",
    )
    parser.add_argument(
        "--teacher",
        metavar="NAME[+NAME]",
        help="distill the predictions of these trained networks, instead of the recipe's teacher "
        "(classification networks only)",
    )
    parser.add_argument(
        "--teacher-share",
        type=float,
        metavar="SHARE",
        help="weight of the teacher against the label, 0 to 1 (classification networks only)",
    )
    parser.add_argument(
        "--consistent-teacher",
        action="store_true",
        default=None,
        help="the teacher predicts every augmented face, not each face once, which is slower (classification "
        "networks only)",
    )
    parser.add_argument(
        "--logit-adjustment",
        type=float,
        metavar="WEIGHT",
        help="train for rare emotions too: 0 is for accuracy, 1 for the mean recall (classification networks "
        "only)",
    )


def run(args: argparse.Namespace) -> int:
    """Train a network, with a progress bar."""
    from fer_models.artifacts import weights
    from fer_models.errors import UnknownNameError, UsageError

    if args.model not in (*RECIPES, *_OTHER_TRAININGS):
        raise UnknownNameError("training recipe", args.model, [*RECIPES, *_OTHER_TRAININGS])
    if args.seed < 0:
        raise UsageError(f"--seed must be at least 0, got {args.seed}.")
    recipe, data = _adapt_recipe(args), _load_data(args)
    output = args.output or weights.user_weights_dir()
    make_output_folder(output)
    screen = console()
    screen.quiet = os.environ.get("RANK", "0") != "0"  # of several processes, only the first one prints
    with training_progress(args.model, screen) as report:
        # Imported only after the arguments are checked: torch, timm and accelerate take seconds.
        from fer_models.training.session import RunOptions
        from fer_models.training.supervised import SupervisedTraining

        session: Any = SupervisedTraining
        if args.model in _OTHER_TRAININGS:
            module, session_class, _ = _OTHER_TRAININGS[args.model]
            session = getattr(importlib.import_module(module), session_class)
        options = RunOptions(args.seed, args.device, not args.no_resume, args.init_from, report)
        result = session(args.model, recipe, data, options).run(output)
    _print_result(result, data.validation.name, screen)
    return 0


def _adapt_recipe(args: argparse.Namespace) -> Any:
    """The recipe with the user's values.

    Raises:
        UsageError: an option is given that the recipe does not have, or a value is out of range.
    """
    from fer_models.errors import UsageError
    from fer_models.training.recipes import adapt

    if args.model in _OTHER_TRAININGS:
        module, _, recipe_class = _OTHER_TRAININGS[args.model]
        recipe = getattr(importlib.import_module(module), recipe_class)()
    else:
        recipe = RECIPES[args.model]
    values = {name: getattr(args, name) for name in _RECIPE_OPTIONS if getattr(args, name) is not None}
    meaningless = [name for name in values if name not in {field.name for field in fields(recipe)}]
    if args.init_from is not None and not hasattr(recipe, "continued"):
        meaningless.append("init_from")
    if meaningless:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in meaningless)
        them = "it" if len(meaningless) == 1 else "them"
        raise UsageError(f"{args.model} cannot be trained with {names}. Leave {them} out.")
    return adapt(recipe if args.init_from is None else recipe.continued(), **values)


def _load_data(args: argparse.Namespace) -> TrainingData:
    """The face sets that the options name."""
    from fer_models import datasets

    train, validation = datasets.training_splits(args.dataset, args.data_root)
    training, held_out = [load_faces(args, train)], load_faces(args, validation)
    if args.dataset != "synthetic" and not args.no_synthetic:
        training.append(datasets.load("synthetic", "train"))
    if args.limit is not None:
        n = sum(map(len, training))
        training = [faces.subsample(max(1, args.limit * len(faces) // n)) for faces in training]
        held_out = held_out.subsample(args.limit)
    from fer_models.training.session import TrainingData

    return TrainingData(training, held_out)


def _print_result(result: TrainingResult, validation: str, screen: Any) -> None:
    """Print a line per epoch, and the epoch and file of the weights."""
    for record in result.history:
        speed = f"{record['seconds']:.0f} s, {record['images_per_second']:.0f} faces/s"
        metrics = _format_metrics(record)
        scores = f", {metrics} on {validation}" if metrics else ""
        screen.print(f"epoch {record['epoch']:.0f}: loss {record['loss']:.4f}, {speed}{scores}")
    unrestored = f"; unrestored: {_format_metrics(result.reference)}" if result.reference else ""
    metrics = f"{_format_metrics(result.kept_record)} on {validation}{unrestored}"
    screen.print(f"kept epoch {result.best_epoch} ({metrics}): {result.weights}")


def _format_metrics(record: dict[str, float]) -> str:
    return ", ".join(text.format(record[name]) for name, text in _METRICS.items() if name in record)
