"""`fer-models data`: what a dataset holds; `data audit` and `data check-claim` are modules of their own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fer_models.cli import audit, check_claim
from fer_models.cli.common import Commands, data_options, load_faces


def add(commands: Commands) -> None:
    """Its parser, and those of its questions."""
    parser = commands.add_parser(
        "data", help="what a dataset holds: counts, fingerprint, deviations, a sheet of faces"
    )
    data_options(parser)
    parser.add_argument("--split", metavar="NAME", help="one split (default: all)")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="write a sheet of faces, one row per emotion"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)
    questions: Commands = parser.add_subparsers(title="more questions", metavar="[QUESTION]")
    for question in (audit, check_claim):
        question.add(questions)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    import json

    from fer_models import datasets

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
            _sheet(
                faces, args.sheet if len(names) == 1 else args.sheet.with_stem(f"{args.sheet.stem}-{name}")
            )
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    for name, found in report.items():
        print(f"{name}: {found['n']} faces, fingerprint {found['fingerprint'][:16]}…")
        print("  " + "  ".join(f"{label} {count}" for label, count in found["counts"].items()))
        for note in found["notes"]:
            print(f"  note: {note}")
    return 0


def _sheet(faces: Any, path: Path, columns: int = 14, side: int = 96) -> None:
    import numpy as np
    from PIL import Image

    from fer_models.emotions import EMOTIONS
    from fer_models.images import resize

    rows = []
    for emotion in EMOTIONS:
        chosen = np.flatnonzero(faces.labels == emotion)[:columns]
        row = [resize(faces.face(int(i)), side) for i in chosen]
        rows.append(
            np.concatenate(
                row + [np.full((side, side, 3), 255, dtype=np.uint8)] * (columns - len(row)), axis=1
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
    print(f"{faces.name}: a sheet of faces is in {path}")
