"""`fer-models card`: writes a model card for the Hugging Face Hub from the report of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.cli.common import Commands, add_command, writable, write_output
from fer_models.errors import UsageError

_REPORT = Path("reports/evals.json")
_EXAMPLES = (
    "fer-models card vgg19 --output README.md            # a new card",
    "fer-models card vgg19 --update README.md            # only its evaluation",
    "fer-models card vgg19 --from other/evals.json",
)


def add(commands: Commands) -> None:
    """Add the parser of `card`."""
    text = "write a model card for the Hugging Face Hub, from the report of a run"
    parser = add_command(commands, "card", text, _EXAMPLES)
    parser.description = (
        "Write a model card for the Hugging Face Hub, from the report of a run: the scores as model-index in "
        "its front matter, and a section Evaluation. Nothing is sent anywhere."
    )
    parser.add_argument("model", metavar="MODEL", help="the name of a model in the report")
    from_help = f"the evals.json of the run (default: {_REPORT})"
    parser.add_argument("--from", dest="report", type=Path, default=_REPORT, metavar="FILE", help=from_help)
    place = parser.add_mutually_exclusive_group()
    output_help = "the file of a new card (default: standard output)"
    place.add_argument("--output", type=Path, metavar="FILE", help=output_help)
    update_help = "replace the evaluation in this card, and keep everything else as it is"
    place.add_argument("--update", type=Path, metavar="FILE", help=update_help)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the card."""
    from fer_models.report import card
    from fer_models.report.report_file import read_report

    report = read_report(args.report)
    if args.update is None:
        write_output(card.new_card(report, args.model), args.output)
        return 0
    path: Path = args.update
    content = _read(path, args.model)
    try:
        updated = card.updated_card(report, args.model, content)
    except card.CardError as error:
        raise UsageError(f"{path}, {error} The file stays as it is.") from error
    if updated != content:
        _replace(path, updated)
    print(f"card: {path}{' (no change)' if updated == content else ''}")
    return 0


def _read(path: Path, model: str) -> str:
    """Read a card with its line breaks."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise UsageError(
            f"--update {path} cannot be read ({error.strerror}). "
            f"For a new card: fer-models card {model} --output README.md"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--update {path} is not in UTF-8 ({error.reason}). Save it in UTF-8.") from error


def _replace(path: Path, content: str) -> None:
    """Write a card atomically, to where a link points."""
    from fer_models.artifacts.atomic_write import atomic_write

    with writable(path), atomic_write(path) as part:
        part.write_bytes(content.encode())
