"""`fer-models data`: describes a dataset; `audit` and `check-claim` are below it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fer_models.cli import audit, check_claim
from fer_models.cli.common import Commands, add_command, data_options, format_option, load_faces
from fer_models.errors import UsageError, one_line

_EXAMPLES = (
    "fer-models data --dataset fer2013 --data-root FOLDER",
    "fer-models data --dataset CLASS_FOLDERS --sheet faces.png",
    "fer-models data audit --dataset fer2013 --data-root FOLDER",
)


def add(commands: Commands) -> None:
    """Add the parser of `data` and of its actions."""
    text = "describe a dataset: counts, fingerprint, notes, a sheet of faces"
    parser = add_command(commands, "data", text, _EXAMPLES)
    data_options(parser)
    parser.add_argument("--split", metavar="NAME", help="one split (default: all)")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="write a sheet of faces, one row per emotion"
    )
    format_option(parser)
    parser.set_defaults(run=run)
    actions: Commands = parser.add_subparsers(title="more actions", metavar="[ACTION]")
    for action in (audit, check_claim):
        action.add(actions)


def run(args: argparse.Namespace) -> int:
    """Print the description of each split."""
    import json

    from fer_models import datasets

    if args.sheet is not None:
        _check_sheet(args.sheet)
    names = [args.split] if args.split else datasets.splits(args.dataset, args.data_root)
    report: dict[str, dict[str, Any]] = {}
    for name in names:
        faces = load_faces(args, name)
        report[faces.name] = {
            "n": len(faces),
            "fingerprint": faces.fingerprint,
            "counts": faces.counts,
            "notes": list(faces.notes),
        }
        if args.sheet is not None:
            path = args.sheet if len(names) == 1 else args.sheet.with_stem(f"{args.sheet.stem}-{name}")
            _write_sheet(faces, path)
    if args.format == "json":
        print(json.dumps(report, indent=1))
        return 0
    for name, split in report.items():
        print(f"{name}: {split['n']} faces, fingerprint {split['fingerprint'][:16]}…")
        print("  " + "  ".join(f"{label} {count}" for label, count in split["counts"].items()))
        for note in split["notes"]:
            print(f"  note: {note}")
    return 0


def _check_sheet(path: Path) -> None:
    from PIL import Image

    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise UsageError(f"--sheet {path}: no picture can be written with this suffix. Choose FILE.png.")


def _write_sheet(faces: Any, path: Path) -> None:
    import numpy as np
    from PIL import Image

    from fer_models.artifacts.atomic_write import atomic_write
    from fer_models.emotions import EMOTIONS
    from fer_models.images import resize

    columns, side = 14, 96  # faces per emotion, pixels
    white = np.full((side, side, 3), 255, dtype=np.uint8)
    rows = []
    for emotion in EMOTIONS:
        indices = np.flatnonzero(faces.labels == emotion)[:columns]
        row = [resize(faces.face(int(i)), side) for i in indices]
        rows.append(np.concatenate(row + [white] * (columns - len(row)), axis=1))
    try:
        with atomic_write(path) as part:
            picture_format = Image.registered_extensions()[path.suffix.lower()]
            Image.fromarray(np.concatenate(rows, axis=0)).save(part, picture_format)
    except OSError as error:
        reason = error.strerror or one_line(str(error))
        raise UsageError(f"--sheet {path} cannot be written ({reason}). Choose another file.") from error
    print(f"{faces.name}: a sheet of faces is in {path}", file=sys.stderr)
