"""`fer-models weights`: list, fetch, average, quantize and adjust weights, and print their record."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, add_command, model_file_option, writable

if TYPE_CHECKING:
    from fer_models.zoo.spec import ModelSpec, RestorerSpec

_EXAMPLES = (
    "fer-models weights list",
    "fer-models weights fetch clip-vit-b-32",
    "fer-models weights quantize vgg19.safetensors --bits 8",
)


def add(commands: Commands) -> None:
    """Add the parser of `weights` and of its actions."""
    parser = add_command(commands, "weights", "list, fetch, average, quantize or adjust weights", _EXAMPLES)
    parser.set_defaults(run=list_weights)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = "print the paths of weights and their sha256 (default)"
    add_command(actions, "list", listing, ("fer-models weights list",)).set_defaults(run=list_weights)
    one = add_command(actions, "fetch", "download weights; no other command does", _EXAMPLES[1:2])
    one.add_argument("name", metavar="NAME", help="a model, a restoration, or face-detection")
    model_file_option(one)
    one.set_defaults(run=fetch)
    text = "write the mean of several trainings of one network from the same start"
    example = "fer-models weights average a.safetensors b.safetensors"
    mean = add_command(actions, "average", text, (example,))
    mean.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="safetensors files that `fer-models train` wrote"
    )
    mean.add_argument(
        "--output", type=Path, metavar="FILE", help="the new file (default: LAST-average.safetensors)"
    )
    mean.set_defaults(run=average)
    small = add_command(actions, "quantize", "write weights in 16 or 8 bits", _EXAMPLES[2:])
    small.add_argument(
        "file", type=Path, metavar="FILE", help="a safetensors file that `fer-models train` wrote"
    )
    small.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        default=16,
        help="16: half precision; 8: integers with a scale per channel (default 16)",
    )
    small.add_argument(
        "--output", type=Path, metavar="FILE", help="the new file (default: FILE-BITSbit.safetensors)"
    )
    small.set_defaults(run=quantize)
    text = "multiply the odds of emotions, such as a rare one that a network seldom predicts"
    example = "fer-models weights multiply-odds resnet50.safetensors disgust=3"
    other = add_command(actions, "multiply-odds", text, (example,))
    other.add_argument(
        "file", type=Path, metavar="FILE", help="a classification network that `fer-models train` wrote"
    )
    other.add_argument(
        "odds", nargs="+", metavar="EMOTION=FACTOR", help="such as disgust=3: as if it were 3 times as common"
    )
    other.add_argument(
        "--output", type=Path, metavar="FILE", help="the new file (default: FILE-odds.safetensors)"
    )
    other.set_defaults(run=multiply_odds)
    text = "print the training record of weights: data, recipe, versions, curve (JSON)"
    record = add_command(actions, "provenance", text, ("fer-models weights provenance vgg19",))
    record.add_argument("name", metavar="NAME", help="a model or a restoration")
    model_file_option(record)
    record.set_defaults(run=provenance)


def list_weights(args: argparse.Namespace) -> int:
    """Print the path and the sha256 of all weights, or the command that fetches them."""
    from fer_models.artifacts import weights
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.errors import WeightsMissingError
    from fer_models.restorers import full_image
    from fer_models.zoo import models, restorers

    for spec in (*models.MODELS, *(restorer for restorer in restorers.RESTORERS if restorer.weights)):
        try:
            path = spec.weights_path()
            print(f"{spec.name}: {path or 'needs none'}" + (f"  sha256 {sha256_of(path)}" if path else ""))
        except WeightsMissingError as missing:
            print(str(missing))
    folder = full_image.folder()
    name = full_image.FACE_DETECTION
    print(f"{name}: {folder if folder.is_dir() else f'not here: fer-models weights fetch {name}'}")
    print(f"your own weights folder: {weights.user_weights_dir()}")
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Download the weights of one model or restoration."""
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.errors import UsageError, WeightsError
    from fer_models.restorers import full_image
    from fer_models.third_party_code import wrap_errors

    if args.name == full_image.FACE_DETECTION:
        print(f"{args.name}: {full_image.fetch()}")
        return 0
    spec = _spec(args)
    if spec.weights is None or spec.weights.fetch is None:
        hint = f"Get it: {spec.weights.install_hint}" if spec.weights else "It needs no weights."
        raise UsageError(f"{spec.name} is not fetched. {hint}")
    with wrap_errors(WeightsError, f"The weights of {spec.name!r} cannot be fetched"):
        path = Path(spec.weights.fetch())
        checksum = sha256_of(path)
    print(f"{spec.name}: {path}  sha256 {checksum}")
    return 0


def average(args: argparse.Namespace) -> int:
    """Write the mean of several weight files."""
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.training import weight_averaging

    output = args.output or args.files[-1].with_name(f"{args.files[-1].stem}-average.safetensors")
    with writable(output):
        weight_averaging.average(args.files, output)
    print(f"{output}: sha256 {sha256_of(output)}")
    return 0


def multiply_odds(args: argparse.Namespace) -> int:
    """Write a network with other odds of some emotions."""
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.errors import UsageError
    from fer_models.training import class_odds

    odds = {}
    for text in args.odds:
        emotion, _, factor = text.partition("=")
        if emotion in odds:
            raise UsageError(f"{emotion} is given twice. Give one factor for each emotion.")
        try:
            odds[emotion] = float(factor)
        except ValueError:
            raise UsageError(f"'{text}' is no EMOTION=FACTOR. Write it like disgust=3") from None
    output = args.output or args.file.with_name(f"{args.file.stem}-odds.safetensors")
    with writable(output):
        class_odds.multiply_odds(args.file, odds, output)
    print(f"{output}: sha256 {sha256_of(output)}")
    return 0


def quantize(args: argparse.Namespace) -> int:
    """Write a weight file in fewer bits."""
    from fer_models.artifacts import safetensors_io
    from fer_models.artifacts.hashing import sha256_of

    state, metadata = safetensors_io.read(args.file)
    output = args.output or args.file.with_name(f"{args.file.stem}-{args.bits}bit.safetensors")
    with writable(output):
        safetensors_io.write(safetensors_io.quantize(state, args.bits), output, metadata)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, sha256 {sha256_of(output)}")
    return 0


def provenance(args: argparse.Namespace) -> int:
    """Print the training record in a weight file."""
    import json

    from fer_models.artifacts import weights

    path = _spec(args).weights_path()
    if path is not None and path.is_dir():
        path = path / "model.safetensors"
    record = None
    if path is not None and path.suffix == ".safetensors" and path.is_file():
        record = weights.training_record(weights.metadata(path), path)
    missing = f"The weights of {args.name} have no training record."
    print(json.dumps(record, indent=1) if record else missing)
    return 0


def _spec(args: argparse.Namespace) -> ModelSpec | RestorerSpec:
    """Find the restoration with the given name, or the model.

    Raises:
        UnknownNameError: there is neither.
    """
    from fer_models.zoo import resolve

    models, restorers, _ = resolve.available_models(args.model_file)
    return restorers[args.name] if args.name in restorers else resolve.resolve_model(args.name, models)
