"""Tables and figures of the study of protocols, all computed from its runs."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from fer_models.report.markdown_text import table
from fer_models.report.svg import BLUE, FAIL, INK, MUTED, RULE, new_figure, percent_tick, style_axes
from fer_models.scoring.intervals import wilson_interval
from fer_models.studies.protocol_runs import ProtocolRun

if TYPE_CHECKING:  # matplotlib is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The largest accuracy in the abstract of arXiv:2508.13524 (EfficientNet-B0), with which figures compare.
PAPER_ACCURACY = 0.8644
#: The most characters of a step's name in a line of a figure.
_NAME_WIDTH = 40


class Mean(NamedTuple):
    """The mean of a value over the seeds, with the smallest and the largest."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """The mean, minimum and maximum of values."""
        return cls(fmean(values), min(values), max(values))


@dataclass(frozen=True)
class ProtocolSummary:
    """What all runs of one training by one protocol found, over their seeds.

    Attributes:
        protocol: its name.
        training: the name of the training.
        seeds: the number of runs.
        epochs: of a run.
        n_training: training faces of a run.
        n_test: test faces of the first run.
        seen_share: the share of test faces whose image is also in training, as it is or augmented.
        training_accuracy: on training faces, after the last epoch.
        accuracy: of all test faces, the epoch chosen on the validation faces.
        interval: 95 % Wilson interval of the mean accuracy with the test faces of one run. It treats
            these as independent, which copies are not.
        accuracy_chosen_on_test: the same, the epoch chosen on the test faces.
        accuracy_of_images: `accuracy` without augmented copies.
        accuracy_of_new_images: `accuracy` on faces whose image is not in training.
    """

    protocol: str
    training: str
    seeds: int
    epochs: int
    n_training: int
    n_test: int
    seen_share: Mean
    training_accuracy: Mean
    accuracy: Mean
    interval: tuple[float, float]
    accuracy_chosen_on_test: Mean
    accuracy_of_images: Mean
    accuracy_of_new_images: Mean

    @classmethod
    def of(cls, runs: Sequence[ProtocolRun]) -> ProtocolSummary:
        """Summarize runs that differ only in their seed."""
        first = runs[0]

        def mean(value: Callable[[ProtocolRun], float]) -> Mean:
            return Mean.of([value(run) for run in runs])

        accuracy = mean(lambda run: run.accuracy())
        interval = wilson_interval(round(accuracy.value * first.n_test), first.n_test)
        return cls(
            first.protocol,
            first.training,
            len(runs),
            first.epochs,
            first.n_training,
            first.n_test,
            mean(lambda run: run.seen_share),
            mean(lambda run: run.training_accuracy[-1]),
            accuracy,
            (interval.low, interval.high),
            mean(lambda run: run.accuracy(on_test=True)),
            mean(lambda run: run.accuracy(is_copy=False)),
            mean(lambda run: run.accuracy(is_seen=False)),
        )


@dataclass(frozen=True)
class Step:
    """One step from the official accuracy to an inflated one.

    Attributes:
        description: what is done in addition to the steps before.
        points: the change of accuracy by it, as a share; for the first step the accuracy itself.
    """

    description: str
    points: Mean


#: The steps of `decompose`, each compared with the one before: its description, its protocol, and whether the
#: epoch is chosen on the test faces.
_STEPS = (
    ("official splits", "official", False),
    ("a random split instead", "random", False),
    ("duplicates of an image kept together", "grouped", False),
    ("emotions balanced with augmented copies, also kept together", "grouped-copies", False),
    ("copies of an image on both sides of the split", "copies", False),
    ("epoch chosen on the test faces", "copies", True),
    ("labels of FER+ instead", "copies-ferplus", True),
)


def summarize(runs: Sequence[ProtocolRun]) -> list[ProtocolSummary]:
    """Summarize runs by training and protocol, in their order."""
    groups: dict[tuple[str, str], list[ProtocolRun]] = {}
    for run in runs:
        groups.setdefault((run.training, run.protocol), []).append(run)
    return [ProtocolSummary.of(group) for group in groups.values()]


def decompose(runs: Sequence[ProtocolRun], training: str) -> list[Step]:
    """Split the most inflated accuracy of a training into steps from the official one.

    A step whose protocol was not run is part of the next one that was. Only seeds with all protocols of the
    steps count, so that the steps add up to the last accuracy. Nothing without the official protocol, or
    without such a seed.
    """
    by_key = {(run.protocol, run.seed): run for run in runs if run.training == training}
    protocols = {protocol for protocol, _ in by_key}
    steps = list(_joined_steps(protocols)) if "official" in protocols else []
    seeds = [
        seed
        for seed in dict.fromkeys(seed for _, seed in by_key)
        if all((protocol, seed) in by_key for _, protocol, _ in steps)
    ]
    if not steps or not seeds:
        return []
    result, before = [], [0.0] * len(seeds)
    for description, protocol, on_test in steps:
        now = [by_key[protocol, seed].accuracy(on_test=on_test) for seed in seeds]
        result.append(Step(description, Mean.of([new - old for new, old in zip(now, before, strict=True)])))
        before = now
    return result


def _joined_steps(protocols: Container[str]) -> Iterator[tuple[str, str, bool]]:
    """Those of `_STEPS` whose protocol was run, each with the number of steps that it contains."""
    n = 1
    for description, protocol, on_test in _STEPS:
        if protocol not in protocols:
            n += 1
            continue
        yield description if n == 1 else f"{n} steps together, the last: {description}", protocol, on_test
        n = 1


def markdown(runs: Sequence[ProtocolRun]) -> str:
    """The results as tables: the accuracies of every protocol, and the steps of each training."""
    parts = []
    for training in dict.fromkeys(run.training for run in runs):
        summaries = [summary for summary in summarize(runs) if summary.training == training]
        parts += [f"### Training: {training}", _accuracy_table(summaries)]
        if len(steps := decompose(runs, training)) > 1:
            parts.append(_step_table(steps))
    return "\n\n".join(parts)


def _accuracy_table(summaries: Sequence[ProtocolSummary]) -> str:
    header = (
        "protocol",
        "training faces, epochs",
        "test faces",
        "image also in training",
        "training accuracy, last epoch",
        "accuracy [95 %]",
        "lowest to highest seed",
        "epoch chosen on the test faces",
        "without augmented copies",
        "new images only",
    )
    rows = [
        (
            summary.protocol,
            f"{summary.n_training:,}, {summary.epochs}",
            f"{summary.n_test:,}",
            _percent(summary.seen_share.value),
            _percent(summary.training_accuracy.value),
            f"{_percent(summary.accuracy.value)} [{100 * summary.interval[0]:.1f}, "
            f"{100 * summary.interval[1]:.1f}]",
            "one seed"
            if summary.seeds == 1
            else f"{100 * summary.accuracy.low:.1f} to {100 * summary.accuracy.high:.1f}",
            _percent(summary.accuracy_chosen_on_test.value),
            _percent(summary.accuracy_of_images.value),
            _percent(summary.accuracy_of_new_images.value),
        )
        for summary in summaries
    ]
    return table(header, rows, range(1, len(header)))


def _step_table(steps: Sequence[Step]) -> str:
    rows, total = [], 0.0
    for number, step in enumerate(steps):
        total += step.points.value
        if number == 0:
            change = "-"
        else:
            points, low, high = (100 * value for value in step.points)
            change = f"{points:+.1f}" if low == high else f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
        rows.append((step.description, change, _percent(total)))
    return table(("step", "points (lowest to highest seed)", "accuracy"), rows, (1, 2))


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def as_json(runs: Sequence[ProtocolRun], recipes: Mapping[str, Any]) -> dict[str, Any]:
    """All runs with their counts, the recipes, and what was computed from them, as JSON."""
    return {
        "schema": 3,
        "study": "protocols",
        "recipes": {name: asdict(recipe) for name, recipe in recipes.items()},
        "summaries": [_json(asdict(summary)) for summary in summarize(runs)],
        "steps": {
            training: [{"description": step.description, **step.points._asdict()} for step in steps]
            for training in dict.fromkeys(run.training for run in runs)
            if (steps := decompose(runs, training))
        },
        "runs": [asdict(run) for run in runs],
    }


def _json(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with objects for means, and null for what no face was counted for."""
    return {
        name: ((None if math.isnan(value.value) else value._asdict()) if isinstance(value, Mean) else value)
        for name, value in summary.items()
    }


# -- figures --------------------------------------------------------------------------------------


def steps_figure(runs: Sequence[ProtocolRun]) -> Figure:
    """Draw the steps from the official accuracy to the most inflated one, one panel per training."""
    panels = {
        training: steps
        for training in dict.fromkeys(run.training for run in runs)
        if len(steps := decompose(runs, training)) > 1
    }
    heights = [0.5 * (len(steps) + 1) + 0.9 for steps in panels.values()] or [1.0]
    figure = new_figure(sum(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for ax, (training, steps) in zip(axes, panels.items(), strict=False):
        _draw_steps(ax, training, steps)
    return figure


def _draw_steps(ax: Axes, training: str, steps: Sequence[Step]) -> None:
    official, last = steps[0].points.value, sum(step.points.value for step in steps)
    style_axes(ax, f"One network: {_percent(official)} or {_percent(last)} ({training})")
    white_box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # a number may be on the paper's line
    number: dict[str, Any] = {"va": "center", "fontsize": 9, "color": INK, "bbox": white_box}
    start = 0.0
    for row, step in enumerate(steps):
        points = step.points.value
        colour = BLUE if row == 0 else (FAIL if points > 0 else MUTED)
        ax.barh(row, points, left=start, height=0.62, color=colour)
        end = start + points
        label = _percent(end) if row == 0 else f"{100 * points:+.1f} points"
        ax.text(max(start, end) + 0.008, row, label, **number)
        start = end
    ax.barh(len(steps), start, height=0.62, color=INK)
    ax.text(start + 0.008, len(steps), _percent(start), **number)
    names = [step.description if row == 0 else f"+ {step.description}" for row, step in enumerate(steps)]
    ax.set_yticks(range(len(steps) + 1), [*map(_two_lines, names), "reported accuracy"])
    ax.invert_yaxis()
    ax.axvline(PAPER_ACCURACY, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    paper = f"{_percent(PAPER_ACCURACY)}, arXiv:2508.13524"
    ax.text(PAPER_ACCURACY, -0.62, paper, ha="center", va="bottom", fontsize=8, color=MUTED)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(percent_tick)
    ax.xaxis.grid(color=RULE)


def _two_lines(text: str) -> str:
    """A long name in two lines of about equal length."""
    return text if len(text) <= _NAME_WIDTH else textwrap.fill(text, len(text) // 2 + 4)


#: The protocols whose learning curves are drawn, and their colours.
_CURVES = {"official": BLUE, "grouped-copies": MUTED, "copies": FAIL, "copies-ferplus": INK}


def curves_figure(runs: Sequence[ProtocolRun]) -> Figure:
    """Draw the accuracy on training faces (dashed) and test faces over the epochs, one panel per training."""
    trainings = list(dict.fromkeys(run.training for run in runs))
    figure = new_figure(3.4)
    axes = figure.subplots(1, max(1, len(trainings)), squeeze=False, sharey=True)[0]
    for ax, training in zip(axes, trainings, strict=False):
        style_axes(ax, f"Training: {training}")
        for run in runs:
            if run.training == training and run.protocol in _CURVES:
                same = [r.seed for r in runs if (r.training, r.protocol) == (training, run.protocol)]
                _draw_curve(ax, run, label=run.seed == min(same))
        ax.set_ylim(0, 1)
        ax.set_xlabel("share of the updates", fontsize=9, color=MUTED)
        ax.xaxis.set_major_formatter(percent_tick)
        ax.yaxis.set_major_formatter(percent_tick)
        ax.grid(color=RULE)
        if ax.get_legend_handles_labels()[0] and ax is axes[0]:
            ax.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _draw_curve(ax: Axes, run: ProtocolRun, *, label: bool) -> None:
    """The curves of one run; thin, because there is one per seed."""
    x = [(epoch + 1) / run.epochs for epoch in range(run.epochs)]
    accuracies = [correct / n for correct, n in map(run.count, range(run.epochs))]
    colour = _CURVES[run.protocol]
    ax.plot(x, accuracies, color=colour, linewidth=1.2, label=f"{run.protocol}, test" if label else None)
    ax.plot(
        x,
        run.training_accuracy,
        color=colour,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label=f"{run.protocol}, training" if label else None,
    )


def to_svg(figure: Figure) -> str:
    """The figure as the text of an SVG file. The same figure gives the same text."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "protocols"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, facecolor="white")
    return text.getvalue()
