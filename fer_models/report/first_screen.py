"""The first screen of the page: what the faces are, and the facts that matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fer_models.gate.restoration_effect import ALL_MODELS, CONTROL
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import count, metric_name, number, p_value, signed

#: What a reader must know about the faces of a dataset before any number.
_ABOUT_FACES = {
    "synthetic": "Drawn by a program, not photographs: these numbers say nothing about real faces. They show "
    "that the models run and predict what they predicted before.",
    "fer2013": "Photographs from a web search with noisy labels: people agree with them on 65 % ± 5 "
    "(Goodfellow et al., arXiv:1307.0414).",
}
_MOST = 3


@dataclass(frozen=True)
class Fact:
    """One fact of the first screen.

    Attributes:
        title: what it is about.
        value: the fact itself, in a few words.
        explanation: a sentence that makes the value readable.
    """

    title: str
    value: str
    explanation: str


def about_faces(report: EvalReport) -> list[tuple[str, str]]:
    """Describe the faces of each split: its name with the number of faces, and a caution or nothing."""
    texts = []
    for name, faces in report.data.items():
        n = count(faces.n, "face") if faces.n == faces.of else f"{faces.n:,} of {count(faces.of, 'face')}"
        texts.append((f"{name}, {n}", caution(name.partition("/")[0])))
    return texts


def caution(dataset: str) -> str:
    """What a reader must know about the faces of a dataset; empty for a dataset of the user."""
    return _ABOUT_FACES.get(dataset, "")


def facts(report: EvalReport) -> list[Fact]:
    """Choose the facts that matter most: what fell, the best model, what the run can detect, restoration."""
    return [*_falls(report), *_best(report), *_sensitivity(report), *_restorations(report)][:_MOST]


def _falls(report: EvalReport) -> Iterator[Fact]:
    """The emotion or the slice with the greatest fall; one that fails its result comes first."""
    falls = [
        (not change.failed, change.change, name, result, change.p)
        for result in report.results
        if result.verdict == "FAIL" and result.changes is not None
        for name, change in result.changes.metrics.items()
        if ":" in name and change.change < 0
    ]
    for _, change, name, result, p in sorted(falls, key=lambda fall: fall[:2])[:1]:
        now, words = result.value(name), metric_name(name)
        before = None if now is None else now - change
        yield Fact(
            "Greatest fall",
            f"{name.partition(':')[2]}: {number(before)} → {number(now)}",
            f"{words[0].upper()}{words[1:]} by {result.name} ({signed(change)}, p {p_value(p)}).",
        )


def _best(report: EvalReport) -> Iterator[Fact]:
    results = [result for result in report.main_results if "accuracy" in result.metrics]
    if not results:
        return
    best, accuracy = results[0], results[0].metrics["accuracy"]
    always = [one for one in report.references(results) if one.name.startswith("always")]
    chance = [f"; {one.name}: {number(one.accuracy.value)}" for one in always]
    interval = f"[{number(accuracy.low)}, {number(accuracy.high)}]"
    yield Fact(
        "Most accurate",
        f"{best.name}: {number(accuracy.value)}",
        f"95 % interval {interval} on {count(best.n, 'face')}{''.join(chance)}.",
    )


def _sensitivity(report: EvalReport) -> Iterator[Fact]:
    """The smallest falls that the verdicts can establish."""
    detectable = [
        result.changes.faces.minimum_detectable_fall
        for result in report.main_results
        if result.changes is not None and result.changes.faces.minimum_detectable_fall is not None
    ]
    if not detectable:
        return
    low, high = 100 * min(detectable), 100 * max(detectable)
    points = f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"
    n = report.main_results[0].n
    yield Fact(
        "Smallest detectable fall",
        f"{points} points",
        f"Of accuracy, on {count(n, 'face')}: a smaller fall is not detected.",
    )


def _restorations(report: EvalReport) -> Iterator[Fact]:
    """The effect of the first restoration over all models, else on the first model."""
    effects = [e for e in report.restorations if e.restoration != CONTROL and e.against == "raw"]
    for effect in sorted(effects, key=lambda effect: effect.model != ALL_MODELS)[:1]:
        accuracy = effect.accuracy
        interval = f"[{signed(accuracy.low)}, {signed(accuracy.high)}]"
        yield Fact(
            f"Restoration with {effect.restoration}",
            f"{effect.verdict}",
            f"Accuracy {signed(accuracy.change)} {interval}, {effect.model}, {count(effect.n, 'face')}.",
        )
