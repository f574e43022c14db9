"""`fer-models gate power`: how often the gate is right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.cli.common import Commands, console

if TYPE_CHECKING:
    from fer_models.gate.power import ScenarioResult
    from fer_models.store.predictions import PredictionTable
    from fer_models.store.subject import Subject
    from fer_models.studies.run_power import DepthPower


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("gate", help="the gate put to its own question")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    power = actions.add_parser(
        "power", help="false alarms and power, on runs simulated from real stored answers"
    )
    power.add_argument(
        "answers",
        type=Path,
        nargs="?",
        metavar="FOLDER",
        help="stored answers to simulate from (default: the most in --store)",
    )
    power.add_argument(
        "--store",
        type=Path,
        default=Path(".evals/store"),
        metavar="FOLDER",
        help="where to look for them (default: .evals/store)",
    )
    power.add_argument(
        "--runs", type=int, default=2000, metavar="N", help="simulated runs per scenario (default 2000)"
    )
    power.add_argument(
        "--whole-runs",
        type=int,
        default=1000,
        metavar="N",
        help="simulated whole runs per depth (default 1000)",
    )
    power.add_argument(
        "--n",
        type=int,
        default=3589,
        metavar="N",
        help="faces per run (default 3589, as many as PrivateTest holds)",
    )
    power.add_argument(
        "--discordant",
        type=float,
        metavar="SHARE",
        help="share of faces that change between right and wrong (default 0.10)",
    )
    power.add_argument("--seed", type=int, default=0)
    power.add_argument("--json", action="store_true", help="as JSON")
    power.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, with a progress bar, and print tables."""
    import json
    import os
    from dataclasses import replace

    from rich.progress import Progress

    from fer_models.gate import power
    from fer_models.studies import run_power

    answers, subject = _answers(args.answers, args.store)
    scenarios = power.SCENARIOS
    if args.discordant is not None:
        scenarios = tuple(
            replace(s, discordant=args.discordant) if s.discordant == 0.10 else s for s in scenarios
        )
    processes = os.cpu_count() or 1
    with Progress(console=_stderr(), transient=True) as bar:
        task = bar.add_task(f"{len(scenarios)} scenarios, {args.runs} runs each", total=len(scenarios))
        outcomes = power.run(
            answers,
            scenarios=scenarios,
            runs=args.runs,
            n=args.n,
            seed=args.seed,
            processes=min(len(scenarios), processes),
            progress=lambda done: bar.advance(task, done),
        )
        whole = bar.add_task(
            f"{args.whole_runs} whole runs per depth", total=run_power.tasks(args.whole_runs)
        )
        runs = run_power.run(
            answers,
            runs=args.whole_runs,
            n=args.n,
            discordant=0.10 if args.discordant is None else args.discordant,
            seed=args.seed,
            processes=processes,
            progress=lambda done: bar.advance(whole, done),
        )
    smallest = {test: power.minimum_detectable_fall(outcomes, test) for test in power.TESTS}
    if args.json:
        said = {
            "source": subject.as_json(),
            "runs": args.runs,
            "n": args.n,
            "scenarios": [o.as_json() for o in outcomes],
            "smallest_found": smallest,
        }
        whole_runs = {"runs": args.whole_runs, "depths": [r.as_json() for r in runs]}
        print(json.dumps({**said, "whole_runs": whole_runs}, indent=1))
        return 0
    screen = console()
    screen.print(
        f"{args.runs} runs per row, {args.n} faces each, simulated from the stored answers of {subject.id}",
        highlight=False,
    )
    screen.print(_table(outcomes, smallest))
    for name, meaning in power.TESTS.items():
        screen.print(f"  {name}: {meaning}", highlight=False)
    screen.print(
        f"\n{args.whole_runs} whole runs in which nothing changed, per depth: the share that fails all the same",
        highlight=False,
    )
    screen.print(_false_alarms(runs))
    for name, meaning in run_power.FAMILIES.items():
        screen.print(f"  {name}: {meaning}", highlight=False)
    screen.print(
        "\nThe smallest change for the worse that a whole run finds four times in five, in points",
        highlight=False,
    )
    screen.print(_robustness(runs))
    return 0


def _answers(folder: Path | None, store: Path) -> tuple[PredictionTable, Subject]:
    """The stored answers asked for, else the most that one subject has: a whole data set of real faces before
    a few drawn ones.
    """
    from fer_models.errors import StoreError, UsageError
    from fer_models.store.partition import load_partition

    if folder is not None:
        return load_partition(folder)
    found = []
    for one in sorted(store.glob("*/")):
        try:
            found.append(load_partition(one))
        except StoreError:  # an unfinished run, or another program's folder: not what was asked for by name
            continue
    if not found:
        raise UsageError(
            f"{store} holds no finished run to simulate from. Run `pytest evals` first, or give a folder of stored answers."
        )
    return max(found, key=lambda f: (len(f[0]), f[1].restoration == "raw"))


def _table(outcomes: list[ScenarioResult], smallest: dict[str, float | None]) -> Any:
    table = _new_table("true fall", "discordant", "answers changed", "log score", *smallest)
    for o in outcomes:
        s = o.scenario
        what = f"{100 * s.fall:.1f} points, {s.kind}" if s.fall else "none"
        table.add_row(
            what,
            f"{s.discordant:.0%}",
            f"{o.prediction_change_rate:.1%}",
            f"{o.log_score:+.3f}",
            *(f"{r.value:.1%}" for r in o.rates.values()),
        )
    table.add_section()
    table.add_row(
        "smallest fall found in 80 % of runs",
        "",
        "",
        "",
        *("-" if v is None else f"{100 * v:.2f}" for v in smallest.values()),
    )
    return table


def _false_alarms(runs: list[DepthPower]) -> Any:
    table = _new_table(
        "depth",
        "subjects",
        "figures",
        *("any FAIL" if name == "any" else name for name in runs[0].false_alarms),
    )
    for r in runs:
        shares = (f"{s.value:.1%} [{s.low:.1%}, {s.high:.1%}]" for s in r.false_alarms.values())
        table.add_row(r.plan.depth.name, str(r.plan.subjects + r.plan.variants), str(r.figures), *shares)
    return table


def _robustness(runs: list[DepthPower]) -> Any:
    table = _new_table("figure", *(f"{r.plan.depth.name}{what}" for r in runs for what in (": faces", "")))
    for figure in runs[0].minimum_detectable_changes:
        found = ((r.faces[figure], r.minimum_detectable_changes[figure]) for r in runs)
        table.add_row(
            figure,
            *(cell for faces, v in found for cell in (str(faces), "none" if v is None else f"{100 * v:.1f}")),
        )
    return table


def _new_table(first: str, *others: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)
