"""`fer-models restore`: restores the faces in full photographs and pastes them back."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from fer_models.cli.common import (
    VERDICT_CODE,
    Commands,
    add_command,
    console,
    device_option,
    model_file_option,
    writable,
)


def add(commands: Commands) -> None:
    """Add the parser of `restore`."""
    text = "restore the faces in photographs (extra: gfpgan)"
    examples = ("fer-models restore group.jpg", "fer-models restore *.jpg --output restored --upscale 1")
    parser = add_command(commands, "restore", text, examples)
    parser.add_argument(
        "photographs", nargs="+", type=Path, metavar="PHOTO", help="an image file with one or more faces"
    )
    parser.add_argument(
        "--restoration", default="gfpgan", metavar="NAME", help="the restoration (default gfpgan)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("restored"),
        metavar="FOLDER",
        help="the folder of the restored pictures (default: restored)",
    )
    parser.add_argument(
        "--upscale",
        type=float,
        default=2.0,
        metavar="TIMES",
        help="enlarge the photograph this many times, 1 to 4 (default 2)",
    )
    device_option(parser)
    model_file_option(parser)
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bf16"),
        help="precision of the network (default auto)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write `NAME.png` and `NAME-before-after.png` for each photograph.

    A photograph that cannot be read or has no face is reported, and the others are restored.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fer_models.errors import FerModelsError, UsageError, printable

    if not 1 <= args.upscale <= 4:
        raise UsageError(f"--upscale must be between 1 and 4, got {args.upscale:g}.")
    outputs = _outputs(args.photographs, args.output)
    restorer = _load_restorer(args)
    screen, failed = console(), 0
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("restoring", total=len(outputs))
        for path, output in outputs.items():
            bar.update(task, description=printable(path.name))
            try:
                message = printable(_restore(restorer, path, output))
            except FerModelsError as error:
                message, failed = str(error), failed + 1
            screen.print(message, markup=False)
            bar.advance(task)
    return VERDICT_CODE if failed else 0


def _outputs(photographs: list[Path], folder: Path) -> dict[Path, Path]:
    """Output path of each photograph.

    Raises:
        UsageError: two have the same output, or an output is one of the photographs.
    """
    from fer_models.errors import UsageError

    outputs: dict[Path, Path] = {}
    photograph_of: dict[Path, Path] = {}
    for path in dict.fromkeys(photographs):
        outputs[path] = output = folder / f"{path.stem}.png"
        for picture in (output, _comparison(output)):
            if picture in photograph_of:
                raise UsageError(
                    f"{photograph_of[picture]} and {path} would both become {picture}. "
                    "Restore them in two runs, with another --output each."
                )
            if picture.exists() and any(one.exists() and picture.samefile(one) for one in photographs):
                raise UsageError(
                    f"{picture} is one of the photographs, and would be overwritten. "
                    "Choose another: --output FOLDER"
                )
            photograph_of[picture] = path
    return outputs


def _comparison(output: Path) -> Path:
    """The path of the picture with the faces before and after, next to the restored photograph."""
    return output.with_name(f"{output.stem}-before-after.png")


def _load_restorer(args: argparse.Namespace) -> Any:
    """Load the restorer of photographs. Raises where the restoration or face detection is not installed."""
    from fer_models.artifacts import safetensors_io
    from fer_models.errors import RestorationError
    from fer_models.restorers import full_image
    from fer_models.third_party_code import wrap_errors
    from fer_models.zoo import resolve
    from fer_models.zoo.spec import Runtime

    spec = resolve.available_models(args.model_file)[1][args.restoration]
    spec.weights_path()
    helper = full_image.load_helper(args.upscale, safetensors_io.pick_device(args.device))
    with wrap_errors(RestorationError, f"Restorer {spec.name!r} cannot be loaded"):
        face_restorer = spec.load(spec.resolve(Runtime(args.device, args.precision)))
    return full_image.FullImageRestorer(face_restorer, spec.name, helper)


def _restore(restorer: Any, path: Path, output: Path) -> str:
    """Restore one photograph and write both pictures; returns a summary.

    Raises:
        ImageError: it cannot be read.
        RestorationError: it has no face, or the restorer failed.
        UsageError: the pictures cannot be written.
    """
    from PIL import Image

    from fer_models import images
    from fer_models.artifacts.atomic_write import atomic_write
    from fer_models.errors import FerModelsError, RestorationError
    from fer_models.restorers.full_image import before_after

    started, photograph = time.perf_counter(), images.read(path)
    try:
        restored = restorer.restore(photograph)
    except FerModelsError as error:
        raise RestorationError(f"{path}: {error}") from error
    if not restored.faces:
        raise RestorationError(
            f"{path}: no face was found; nothing was written. "
            "Faces must be upright, with eyes at least 5 pixels apart."
        )
    comparison = _comparison(output)
    pictures = {output: restored.photograph, comparison: before_after(photograph, restored)}
    with writable(output, "FOLDER"):
        for target, picture in pictures.items():
            with atomic_write(target) as part:
                Image.fromarray(picture).save(part, "PNG")
    n, seconds = len(restored.faces), time.perf_counter() - started
    return f"{path}: {n} face{'s' * (n > 1)} in {seconds:.1f} s -> {output}, {comparison}"
