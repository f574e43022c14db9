"""`fer-models weights`: where weights lie, what they are, and averaging and packing them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands

if TYPE_CHECKING:
    from fer_models.zoo.spec import ModelSpec, RestorerSpec


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("weights", help="where weights lie, and their sha256; fetch them; average trained ones, and pack them for shipping")
    parser.add_argument("--provenance", metavar="NAME", help="how a model's weights were trained: data, recipe, versions, curve (JSON)")
    parser.add_argument(
        "--fetch", metavar="NAME", help="get the weights of a model, a restoration, or face-detection, from the network (the only command that does)"
    )
    parser.add_argument(
        "--average", type=Path, nargs="+", metavar="FILE", help="the mean of trainings of one network that went on from common weights"
    )
    parser.add_argument("--pack", type=Path, metavar="FILE", help="a safetensors file that `fer-models train` wrote")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=16, help="16: half precision; 8: integers with a scale per channel (default 16)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the average, or the packed file, goes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print, fetch, average or pack."""
    import json

    from fer_models.artifacts import weights
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.errors import UsageError, WeightsMissingError
    from fer_models.restorers import full_image
    from fer_models.zoo import models, restorers

    if args.average is not None:
        from fer_models.training.weight_averaging import average

        output = args.output or args.average[-1].with_name(f"{args.average[-1].stem}-average.safetensors")
        average(args.average, output)
        print(f"{output}: sha256 {sha256_of(output)}")
        return 0
    if args.pack is not None:
        from fer_models.artifacts import safetensors_io

        state, metadata = safetensors_io.read(args.pack)
        output = args.output or args.pack.with_name(f"{args.pack.stem}-{args.bits}bit.safetensors")
        safetensors_io.write(safetensors_io.quantize(state, args.bits), output, metadata)
        print(f"{output}: {output.stat().st_size / 2**20:.1f} MB, sha256 {sha256_of(output)}")
        return 0
    if args.fetch == full_image.FACE_DETECTION:
        print(f"{args.fetch}: {full_image.fetch()}")
        return 0
    if args.fetch is not None:
        spec = _record(args.fetch)
        if spec.weights is None or spec.weights.fetch is None:
            raise UsageError(f"{spec.name} is not fetched. {f'Get it: {spec.weights.install_hint}' if spec.weights else 'It needs no weights.'}")
        got = spec.weights.fetch()
        print(f"{spec.name}: {got}  sha256 {sha256_of(got)}")
        return 0
    if args.provenance is not None:
        path = _record(args.provenance).weights_path()
        said = weights.metadata(path).get("provenance") if path else None
        print(json.dumps(json.loads(said), indent=1) if said else f"The weights of {args.provenance} do not say how they were trained.")
        return 0
    for spec in (*models.MODELS, *(restorer for restorer in restorers.RESTORERS if restorer.weights)):
        try:
            path = spec.weights_path()
            print(f"{spec.name}: {path or 'needs none'}" + (f"  sha256 {sha256_of(path)}" if path else ""))
        except WeightsMissingError as missing:
            print(str(missing))
    here = full_image.folder() if full_image.folder().is_dir() else f"not here: fer-models weights --fetch {full_image.FACE_DETECTION}"
    print(f"{full_image.FACE_DETECTION}: {here}")
    print(f"your own weights folder: {weights.user_weights_dir()}")
    return 0


def _record(name: str) -> ModelSpec | RestorerSpec:
    """The restoration called `name`, or the model.

    Raises:
        UnknownNameError: there is neither.
    """
    from fer_models.zoo import models, resolve, restorers

    return restorers.RESTORERS[name] if name in restorers.RESTORERS else resolve.resolve_model(name, models.MODELS)
