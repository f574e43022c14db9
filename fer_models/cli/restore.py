"""`fer-models restore`: whole photographs, their faces restored and pasted back."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from fer_models.cli.common import VERDICT_CODE, Commands, console


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("restore", help="restore the faces in whole photographs (extra: gfpgan)")
    parser.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument(
        "--restoration", default="gfpgan", metavar="NAME", help="what restores the faces (default gfpgan)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("restored"),
        metavar="FOLDER",
        help="where the pictures go (default: restored)",
    )
    parser.add_argument(
        "--upscale",
        type=float,
        default=2.0,
        metavar="TIMES",
        help="how many times larger the photograph becomes, 1 to 4 (default 2)",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bf16"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write `NAME.png` and `NAME-before-after.png` for each photograph; one that cannot be read or has no
    face is told, and the others go on.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fer_models.errors import FerModelsError, UsageError, printable

    if not 1 <= args.upscale <= 4:
        raise UsageError(f"--upscale must be between 1 and 4, got {args.upscale:g}.")
    outputs = _outputs(args.photographs, args.output)
    restorer = _loaded(args)
    screen, failed = console(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("restoring", total=len(outputs))
        for path, output in outputs.items():
            bar.update(task, description=printable(path.name))
            try:
                told = _restored(restorer, path, output)
            except FerModelsError as error:
                told = None
                screen.print(str(error), markup=False, highlight=False)
            if told is not None:
                screen.print(printable(told), markup=False, highlight=False)
            failed += told is None
            bar.advance(task)
    return VERDICT_CODE if failed else 0


def _outputs(photographs: list[Path], folder: Path) -> dict[Path, Path]:
    """Where each photograph goes.

    Raises:
        UsageError: two would go to the same file, or one would go onto a photograph itself.
    """
    from fer_models.errors import UsageError

    outputs: dict[Path, Path] = {}
    for path in dict.fromkeys(photographs):
        output = folder / f"{path.stem}.png"
        for other, its in outputs.items():
            if its == output:
                raise UsageError(
                    f"{other} and {path} would both become {output}. Restore them in two runs, with another --output each."
                )
        if output.exists() and any(one.exists() and output.samefile(one) for one in photographs):
            raise UsageError(
                f"{output} is one of the photographs, and would be overwritten. Choose another: --output FOLDER"
            )
        outputs[path] = output
    return outputs


def _loaded(args: argparse.Namespace) -> Any:
    """What restores photographs. Raises where the restoration or what finds faces is not here."""
    from fer_models.artifacts import safetensors_io
    from fer_models.restorers import full_image
    from fer_models.zoo import restorers
    from fer_models.zoo.spec import Runtime

    spec = restorers.RESTORERS[args.restoration]
    spec.weights_path()
    helper = full_image.load_helper(args.upscale, safetensors_io.pick_device(args.device))
    return full_image.FullImageRestorer(
        spec.load(spec.resolve(Runtime(args.device, args.precision))), spec.name, helper
    )


def _restored(restorer: Any, path: Path, output: Path) -> str:
    """Restore one photograph and write both pictures; says what was done.

    Raises:
        ImageError: it cannot be read.
        RestorationError: it has no face, or the restorer could not.
        UsageError: the pictures cannot be written.
    """
    from PIL import Image

    from fer_models import images
    from fer_models.errors import RestorationError, UsageError
    from fer_models.restorers.full_image import before_after

    started, photograph = time.perf_counter(), images.read(path)
    restored = restorer.restore(photograph)
    if not restored.faces:
        raise RestorationError(
            f"{path}: no face was found; nothing was written. Faces must be upright, with eyes at least 5 pixels apart."
        )
    beside = output.with_name(f"{output.stem}-before-after.png")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for picture, where in ((restored.photograph, output), (before_after(photograph, restored), beside)):
            part = where.with_suffix(".part")
            Image.fromarray(picture).save(part, "PNG")
            part.replace(where)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written ({error.strerror}). Choose another: --output FOLDER"
        ) from error
    n = len(restored.faces)
    return f"{path}: {n} face{'s' * (n > 1)} in {time.perf_counter() - started:.1f} s -> {output}, {beside}"
