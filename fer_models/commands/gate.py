"""`fer-models gate selftest`: how often the gate is right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.commands.common import Commands, console

if TYPE_CHECKING:
    from fer_models.evaluation.selftest import Outcome
    from fer_models.evaluation.store import Answers
    from fer_models.evaluation.subject import Subject


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("gate", help="the gate put to its own question")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    selftest = actions.add_parser("selftest", help="false alarms and power, on runs simulated from real stored answers")
    selftest.add_argument("answers", type=Path, nargs="?", metavar="FOLDER", help="stored answers to simulate from (default: the most in --store)")
    selftest.add_argument("--store", type=Path, default=Path(".evals/store"), metavar="FOLDER", help="where to look for them (default: .evals/store)")
    selftest.add_argument("--runs", type=int, default=2000, metavar="N", help="simulated runs per scenario (default 2000)")
    selftest.add_argument("--n", type=int, default=3589, metavar="N", help="faces per run (default 3589, as many as PrivateTest holds)")
    selftest.add_argument("--discordant", type=float, metavar="SHARE", help="share of faces that change between right and wrong (default 0.10)")
    selftest.add_argument("--seed", type=int, default=0)
    selftest.add_argument("--json", action="store_true", help="as JSON")
    selftest.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, with a progress bar, and print a table."""
    import json
    import os
    from dataclasses import replace

    from rich.progress import Progress

    from fer_models.evaluation import selftest

    answers, subject = _answers(args.answers, args.store)
    scenarios = selftest.SCENARIOS
    if args.discordant is not None:
        scenarios = tuple(replace(s, discordant=args.discordant) if s.discordant == 0.10 else s for s in scenarios)
    with Progress(console=_stderr(), transient=True) as bar:
        task = bar.add_task(f"{len(scenarios)} scenarios, {args.runs} runs each", total=len(scenarios))
        outcomes = selftest.run(
            answers,
            scenarios=scenarios,
            runs=args.runs,
            n=args.n,
            seed=args.seed,
            processes=min(len(scenarios), os.cpu_count() or 1),
            progress=lambda done: bar.advance(task, done),
        )
    smallest = {test: selftest.smallest_found(outcomes, test) for test in selftest.TESTS}
    if args.json:
        said = {"source": subject.as_json(), "runs": args.runs, "n": args.n, "scenarios": [o.as_json() for o in outcomes], "smallest_found": smallest}
        print(json.dumps(said, indent=1))
        return 0
    screen = console()
    screen.print(f"{args.runs} runs per row, {args.n} faces each, simulated from the stored answers of {subject.id}", highlight=False)
    screen.print(_table(outcomes, smallest))
    for name, meaning in selftest.TESTS.items():
        screen.print(f"  {name}: {meaning}", highlight=False)
    return 0


def _answers(folder: Path | None, store: Path) -> tuple[Answers, Subject]:
    """The stored answers asked for, else the most that one subject has: a whole data set of real faces before a few drawn ones."""
    from fer_models.errors import StoreError, UsageError
    from fer_models.evaluation.store import stored

    if folder is not None:
        return stored(folder)
    found = []
    for one in sorted(store.glob("*/")):
        try:
            found.append(stored(one))
        except StoreError:  # an unfinished run, or another program's folder: not what was asked for by name
            continue
    if not found:
        raise UsageError(f"{store} holds no finished run to simulate from. Run `pytest evals` first, or give a folder of stored answers.")
    return max(found, key=lambda f: (len(f[0]), f[1].restoration == "raw"))


def _table(outcomes: list[Outcome], smallest: dict[str, float | None]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("true fall", no_wrap=True)
    table.add_column("discordant", justify="right")
    table.add_column("answers changed", justify="right")
    table.add_column("log score", justify="right")
    for name in smallest:
        table.add_column(name, justify="right")
    for o in outcomes:
        s = o.scenario
        what = f"{100 * s.fall:.1f} points, {s.kind}" if s.fall else "none"
        table.add_row(what, f"{s.discordant:.0%}", f"{o.changed:.1%}", f"{o.log_score:+.3f}", *(f"{r.value:.1%}" for r in o.rates.values()))
    table.add_section()
    table.add_row("smallest fall found in 80 % of runs", "", "", "", *("-" if v is None else f"{100 * v:.2f}" for v in smallest.values()))
    return table


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)
