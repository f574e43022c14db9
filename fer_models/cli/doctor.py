"""`fer-models doctor`: examines what this machine can run, and names the next command."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import VERDICT_CODE, Commands, add_command, format_option, scheme_option

if TYPE_CHECKING:
    from fer_models.diagnosis import Finding

_EXAMPLES = (
    "fer-models doctor",
    "fer-models doctor --dataset fer2013 --data-root FOLDER",
    "fer-models doctor --format json",
)


def add(commands: Commands) -> None:
    """Add the parser of `doctor`."""
    parser = add_command(
        commands,
        "doctor",
        "check this machine: versions, device, weights, data; exit code 1 if the default evals cannot run",
        _EXAMPLES,
    )
    dataset_help = "also read this dataset: fer2013, or the path of a class-folder dataset"
    parser.add_argument("--dataset", default="synthetic", metavar="NAME", help=dataset_help)
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="the folder of the dataset")
    parser.add_argument(
        "--split", metavar="NAME", help="the split to read (default: the one that is evaluated)"
    )
    scheme_option(parser)
    format_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every finding; 0 if there is no problem, else 1."""
    from dataclasses import asdict

    from fer_models.diagnosis import diagnose

    dataset = "fer2013" if args.data_root and args.dataset == "synthetic" else args.dataset
    findings = diagnose(Path.cwd(), dataset, args.data_root, args.split, args.label_scheme)
    problems = [finding for finding in findings if finding.state == "problem"]
    if args.format == "json":
        import json

        print(json.dumps({"ok": not problems, "findings": [asdict(each) for each in findings]}, indent=1))
    else:
        print("\n".join(_report(findings, problems)))
    return VERDICT_CODE if problems else 0


def _report(findings: list[Finding], problems: list[Finding]) -> Iterator[str]:
    from fer_models import __version__
    from fer_models.diagnosis import SECTIONS

    yield f"fer-models {__version__}"
    for section in SECTIONS:
        members = [finding for finding in findings if finding.section == section]
        yield f"\n{section}"
        if section == "packages":
            yield from _paragraph(members)
        else:
            width = max(len(finding.name) for finding in members) if members else 0
            yield from (line for finding in members for line in _lines(finding, width))
    if not problems:
        yield "\nThe default evals can run. Next: fer-models eval --depth quick"
        return
    yield f"\n{len(problems)} problem{'s' * (len(problems) > 1)}:"
    for finding in problems:
        yield f"  {finding.name}: {finding.value}"
        if finding.command:
            yield f"      {finding.command}"


def _paragraph(findings: Iterable[Finding]) -> list[str]:
    """Names and versions, in lines of a standard terminal."""
    import textwrap

    text = ", ".join(f"{f.name}\N{NO-BREAK SPACE}{f.value}" for f in findings)
    wrapped = textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]


def _lines(finding: Finding, width: int) -> Iterator[str]:
    """A finding, with its command on the same line where this fits a standard terminal."""
    line = f"  {finding.name:<{width}}  {finding.value}"
    together = f"{line}  {finding.command}".rstrip()
    if len(together) <= 80:
        yield together
        return
    yield line
    if finding.command:
        yield f"      {finding.command}"
