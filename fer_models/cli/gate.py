"""`fer-models gate power | plan`: how often the gate is wrong, and how many faces it needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_models.artifacts.object_storage import store_path
from fer_models.cli.common import Commands, add_command, console, format_option

if TYPE_CHECKING:
    from fer_models.artifacts.object_storage import StorePath
    from fer_models.gate.power import ScenarioResult
    from fer_models.gate.sample_plan import SamplePlan
    from fer_models.store.predictions import PredictionTable
    from fer_models.store.subject import Subject
    from fer_models.studies.run_power import DepthPower

#: The share of discordant faces of those scenarios that `--discordant` changes.
_DISCORDANT = 0.10

_POWER_EXAMPLES = ("fer-models gate power", "fer-models gate power --n 1050 --runs 500 --format json")
_PLAN_EXAMPLES = (
    "fer-models gate plan --fall 1.0 --discordant 10",
    "fer-models gate plan --fall 2 --discordant 5 --power 0.9 --family 36",
)


def add(commands: Commands) -> None:
    """Add the parser of `gate` and of its actions."""
    text = "estimate how often the gate is wrong, and how many faces it needs"
    parser = add_command(commands, "gate", text, (_POWER_EXAMPLES[0], _PLAN_EXAMPLES[0]))
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_power(actions)
    _add_plan(actions)


def _add_power(actions: Commands) -> None:
    text = "simulate runs, and print the false-positive rate and the power of the gate"
    power = add_command(actions, "power", text, _POWER_EXAMPLES)
    power.add_argument(
        "folder",
        type=store_path,
        nargs="?",
        metavar="FOLDER",
        help="stored predictions to simulate from (default: those in --store with the most faces)",
    )
    store = Path(".evals/store")
    power.add_argument(
        "--store", type=store_path, default=store, metavar="FOLDER", help=f"the store (default {store})"
    )
    _number(power, "--runs", 2000, "simulated runs per scenario")
    _number(power, "--full-runs", 1000, "simulated full runs per depth")
    _number(power, "--n", 3589, "faces per run")
    power.add_argument(
        "--discordant",
        type=float,
        metavar="PERCENT",
        help="faces that change between correct and wrong, either way, in percent (default 10)",
    )
    _number(power, "--seed", 0, "seed of the random numbers")
    format_option(power)
    power.set_defaults(run=run)


def _add_plan(actions: Commands) -> None:
    text = "print the number of faces with which the gate detects a fall of accuracy"
    plan = add_command(actions, "plan", text, _PLAN_EXAMPLES)
    share = "faces that change between correct and wrong, either way, in percent"
    fall = "true fall of accuracy in points"
    plan.add_argument("--fall", type=float, required=True, metavar="POINTS", help=fall)
    plan.add_argument("--discordant", type=float, required=True, metavar="PERCENT", help=share)
    power = "share of runs in which the gate detects the fall (default 0.8)"
    plan.add_argument("--power", type=float, default=0.8, metavar="SHARE", help=power)
    family = "tests that are adjusted together (Holm), two for each model and restoration"
    _number(plan, "--family", 2, family)
    level = "level of the gate (default 0.01)"
    plan.add_argument("--alpha", type=float, default=0.01, metavar="P", help=level)
    plan.set_defaults(run=run_plan)


def _number(parser: argparse.ArgumentParser, name: str, default: int, text: str) -> None:
    parser.add_argument(name, type=int, default=default, metavar="N", help=f"{text} (default {default})")


def run(args: argparse.Namespace) -> int:
    """Simulate, with a progress bar, and print tables or JSON."""
    from fer_models.emotions import LABELS
    from fer_models.errors import UsageError

    if args.seed < 0 or args.n < len(LABELS) or min(args.runs, args.full_runs) < 1:
        raise UsageError(
            f"--seed must be at least 0, --n at least {len(LABELS)}, --runs and --full-runs at least 1."
        )
    folder = args.folder
    if folder is None:
        folder, predictions, subject = _largest(args.store)
    else:
        from fer_models.store.partition import load_partition

        predictions, subject = load_partition(folder)
    results, runs = _simulate(args, predictions)
    if args.format == "json":
        _print_json(args, subject, results, runs)
    else:
        console().print(f"Source: {subject.id}, {len(predictions)} faces, {folder}")
        _print_tables(args, results, runs)
    return 0


def run_plan(args: argparse.Namespace) -> int:
    """Print the number of faces, and a table for other shares of changed faces."""
    from fer_models.gate.sample_plan import GateSettings, neighbouring_plans, plan
    from fer_models.report.formatting import count

    settings = GateSettings(args.alpha, args.power, args.family)
    wanted = plan(args.fall / 100, args.discordant / 100, settings)
    screen = console()
    for line in (
        f"{wanted.n:,} faces: the gate then fails by accuracy in {100 * args.power:g} % of runs in which",
        f"accuracy truly falls by {args.fall} points and {args.discordant:g} % of the faces change between",
        "correct and wrong "
        f"({wanted.negative_flips:,.0f} become wrong, {wanted.positive_flips:,.0f} become correct).",
        f"The observed fall must be at least {100 * settings.margin:g} points, and significant by the exact",
        f"McNemar test: p < {args.alpha:g} after Holm's adjustment for {count(args.family, 'test')}.",
    ):
        screen.print(line)
    screen.print(_plan_table(neighbouring_plans(wanted, settings)))
    return 0


def _plan_table(plans: list[SamplePlan]) -> Any:
    table = _new_table("changed faces", "faces", "become wrong", "become correct")
    for one in plans:
        numbers = (one.n, one.negative_flips, one.positive_flips)
        table.add_row(f"{100 * one.discordant:g} %", *(f"{value:,.0f}" for value in numbers))
    return table


def _largest(store: StorePath) -> tuple[StorePath, PredictionTable, Subject]:
    """Load the stored predictions with the most faces.

    Of several with as many faces, those with probabilities come first, then raw faces, then the order of the
    zoo.
    """
    from fer_models.errors import StoreError, UsageError
    from fer_models.store.partition import load_partition
    from fer_models.zoo.models import MODELS

    order = {name: i for i, name in enumerate(MODELS.names)}

    def rank(candidate: tuple[StorePath, PredictionTable, Subject]) -> tuple[Any, ...]:
        folder, predictions, subject = candidate
        is_raw = subject.restoration == "raw" and subject.corruption is None
        position = order.get(subject.model, len(order))
        return (-len(predictions), not predictions.has_probabilities, not is_raw, position, folder.name)

    candidates = []
    for folder in sorted(path for path in store.glob("*") if path.is_dir()):
        try:
            candidates.append((folder, *load_partition(folder)))
        except StoreError:  # an unfinished run, or another program's folder: the user did not name it
            continue
    if not candidates:
        raise UsageError(
            f"{store} has no finished run to simulate from. "
            "Run `pytest evals` first, or give a folder of stored predictions."
        )
    return min(candidates, key=rank)


def _simulate(
    args: argparse.Namespace, predictions: PredictionTable
) -> tuple[list[ScenarioResult], list[DepthPower]]:
    import os
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from fer_models.gate import power
    from fer_models.studies import run_power

    discordant = _DISCORDANT if args.discordant is None else args.discordant / 100
    scenarios = [
        replace(s, discordant=discordant) if s.discordant == _DISCORDANT else s for s in power.SCENARIOS
    ]
    options = power.SimulationOptions(args.runs, args.n, args.seed, processes=os.cpu_count() or 1)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{len(scenarios)} scenarios, {args.runs} runs each", total=len(scenarios))
        results = power.run(
            predictions, options, scenarios=scenarios, progress=lambda done: bar.advance(task, done)
        )
        steps = run_power.tasks(args.full_runs)
        full = bar.add_task(f"{args.full_runs} full runs per depth", total=steps)
        runs = run_power.run(
            predictions,
            replace(options, runs=args.full_runs),
            discordant=discordant,
            progress=lambda done: bar.advance(full, done),
        )
    return results, runs


def _print_json(
    args: argparse.Namespace, subject: Subject, results: list[ScenarioResult], runs: list[DepthPower]
) -> None:
    import json

    from fer_models.gate import power

    output = {
        "source": subject.as_json(),
        "runs": args.runs,
        "n": args.n,
        "scenarios": [r.as_json() for r in results],
        "minimum_detectable_fall": {t: power.minimum_detectable_fall(results, t) for t in power.TESTS},
        "full_runs": {"runs": args.full_runs, "depths": [r.as_json() for r in runs]},
    }
    print(json.dumps(output, indent=1))


def _print_tables(args: argparse.Namespace, results: list[ScenarioResult], runs: list[DepthPower]) -> None:
    from fer_models.gate import power
    from fer_models.studies import run_power

    screen = console()

    def text(line: str) -> None:
        screen.print(line)

    text(f"{args.runs} runs per row, {args.n} faces each: the share in which a test detects a fall")
    screen.print(_scenario_table(results))
    for name, meaning in power.TESTS.items():
        text(f"  {name}: {meaning}")
    text(f"\n{args.full_runs} full runs per depth, without a change: the share that fails nevertheless")
    screen.print(_false_positive_table(runs))
    for name, meaning in run_power.FAMILIES.items():
        text(f"  {name}: {meaning}")
    text("\nThe smallest change for the worse that a full run detects in 80 % of cases, in points")
    screen.print(_robustness_table(runs))


def _scenario_table(results: list[ScenarioResult]) -> Any:
    from fer_models.gate import power

    table = _new_table("true fall", "discordant", "predictions changed", "log score", *power.TESTS)
    for r in results:
        s = r.scenario
        fall = f"{100 * s.fall:.1f} points, {s.kind}" if s.fall else "none"
        shares = (f"{s.discordant:.0%}", f"{r.prediction_change_rate:.1%}", f"{r.log_score:+.3f}")
        table.add_row(fall, *shares, *(f"{rate.value:.1%}" for rate in r.rates.values()))
    table.add_section()
    falls = (power.minimum_detectable_fall(results, test) for test in power.TESTS)
    cells = ("-" if fall is None else f"{100 * fall:.2f}" for fall in falls)
    table.add_row("smallest fall detected in 80 % of runs", "", "", "", *cells)
    return table


def _false_positive_table(runs: list[DepthPower]) -> Any:
    families = ("any FAIL" if name == "any" else name for name in runs[0].false_positive_rates)
    table = _new_table("depth", "subjects", "metrics", *families)
    for r in runs:
        shares = (f"{s.value:.1%} [{s.low:.1%}, {s.high:.1%}]" for s in r.false_positive_rates.values())
        table.add_row(r.plan.depth.name, str(r.plan.subjects + r.plan.variants), str(r.n_metrics), *shares)
    return table


def _robustness_table(runs: list[DepthPower]) -> Any:
    headings = (f"{r.plan.depth.name}{suffix}" for r in runs for suffix in (": faces", ""))
    table = _new_table("metric", *headings)
    for metric in runs[0].minimum_detectable_changes:
        cells = []
        for r in runs:
            change = r.minimum_detectable_changes[metric]
            cells += [str(r.faces[metric]), "none" if change is None else f"{100 * change:.1f}"]
        table.add_row(metric, *cells)
    return table


def _new_table(first: str, *others: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
