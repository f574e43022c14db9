"""The section "Evaluation" of a model card, as Markdown.

Every text from outside is code (`markdown_text`), so that no name becomes markup. A new part of the section
is a function in `_PARTS`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath, PureWindowsPath

from fer_models.emotions import LABELS
from fer_models.report import card_tables
from fer_models.report.eval_report import EvalReport
from fer_models.report.first_screen import caution
from fer_models.report.formatting import count
from fer_models.report.markdown_text import cell, code, code_block
from fer_models.report.verdict_sentence import verdict_sentence

#: What stands in a command in place of a path of the machine of the run.
_FOLDER = "FOLDER"
#: A path after a mark, as in `onnx:/home/me/net.onnx`; not an address of a server (`//`).
_PATH_AFTER_MARK = re.compile(r"(?<=\w)([@:=])(?!//)(?:~?/|[A-Za-z]:[\\/]|\\\\).*", re.DOTALL)


def evaluation_section(report: EvalReport) -> str:
    """Write the section, which starts with its heading and ends with a newline.

    Args:
        report: the results of one model, at least one.
    """
    return "\n\n".join(("## Evaluation", *(text for part in _PARTS for text in part(report)))) + "\n"


def _verdict(report: EvalReport) -> Iterator[str]:
    version = report.environment.get("fer-models")
    suite = code(f"fer-models {version}" if isinstance(version, str) else "fer-models")
    yield f"**{verdict_sentence(report, code)}**"
    yield (
        f"Measured with {suite}, on the machine of the person who published this card. Nobody else has "
        "verified these numbers. The verdict is about changes since a recorded baseline. It does not mean "
        "that the model is good."
    )


# What was evaluated.


def _faces(report: EvalReport) -> Iterator[str]:
    yield "### Faces"
    for name, faces in report.data.items():
        n = f"{faces.n:,} of {count(faces.of, 'face')}" if faces.n < faces.of else count(faces.n, "face")
        counts = ", ".join(f"{emotion} {k:,}" for emotion, k in faces.counts.items())
        about = caution(name.partition("/")[0]) or "This card has no description of these faces."
        yield (
            f"{code(name)}, {n}: {cell(about)} Faces per emotion: {code(counts)}. "
            f"Fingerprint: {code(faces.fingerprint)}."
        )


def _protocol(report: EvalReport) -> Iterator[str]:
    parts = [result for result in report.results if result.is_part]
    limited = "All faces of the split were predicted."
    if parts:
        limited = "Limited: only some faces of the split were predicted. The tables have the number of faces."
    items = [
        f"The model predicts one of {len(LABELS)} emotions for each face: {', '.join(LABELS)}.",
        "A face without a prediction counts as wrong.",
        limited,
        f"Depth of the run: {code(report.depth.name)}.",
    ]
    if prompts := sorted({result.subject.prompt for result in report.results if result.subject.prompt}):
        items.append(f"Prompts or question: {', '.join(map(code, prompts))}.")
    if any(result.subject.restoration != "raw" for result in report.results):
        items.append(
            "`raw` is the face of the dataset. Other names are restorations of it before prediction."
        )
    if any("ece" in result.metrics for result in report.results):
        items.append("ECE is the expected calibration error; lower is better.")
    yield "### Protocol"
    yield _listed(items)


# What a reader must know.


def _limits(report: EvalReport) -> Iterator[str]:
    yield "### Limits"
    yield _listed((
        "A label names an expression that somebody posed, drew or judged. It is not the inner state of a "
        "person, and no model can read that from a picture.",
        "The scores are valid for these faces only. Faces from another source are other faces.",
        "An interval is about the choice of the faces. Wrong labels and another training are not in it.",
        "Groups of people are measured only as far as a table of slices above names them. No gap is no proof "
        "of fairness.",
        *(f"Not measured in this run: {text}." for text in _not_measured(report)),
        *(f"Note: {code(note)}" for note in _notes(report)),
    ))  # fmt: skip


def _notes(report: EvalReport) -> Iterator[str]:
    """The notes on the results, and those on the faces that no result has."""
    yield from report.notes
    yield from (f"{name}: {note}" for name, note in report.face_notes)


def _not_measured(report: EvalReport) -> Iterator[str]:
    """Phrases on what this run has no numbers of."""
    results = report.results
    if any(result.leakage is None for result in results):
        yield "how many faces are also in the training split"
    if not any(result.votes is not None for result in results):
        yield "agreement with annotators, because the run has no votes on these faces"
    if not any("ece" in result.metrics for result in results):
        yield "calibration, because the model gives no probabilities"
    if not report.restorations:
        yield "effects of restorations"
    if not report.prompts and any(result.subject.prompt for result in results):
        yield "robustness against other prompts or questions"
    if not report.metamorphic:
        yield "robustness against small changes of the pictures"
    if not report.corruptions:
        yield "robustness against corruptions"
    yield from map(code, report.depth.left_out)


def _reproduction(report: EvalReport) -> Iterator[str]:
    commands = dict.fromkeys(_without_paths(result.command) for result in report.results)
    yield "### Reproduce"
    if any(_FOLDER in command for command in commands):
        yield f"`{_FOLDER}` stands for a folder or file of your machine."
    yield from map(code_block, commands)
    versions = [
        code(f"{name} {value}")
        for name, value in report.environment.items()
        if isinstance(value, str) and name != "command"  # which has the paths of the machine
    ]
    if versions:
        yield f"Versions: {', '.join(versions)}."


#: The parts of the section, in order. Each gives the blocks of its Markdown, and none where there is nothing.
_PARTS = (
    _verdict,
    _faces,
    _protocol,
    card_tables.scores,
    card_tables.recalls,
    card_tables.slices,
    card_tables.baselines,
    card_tables.leaks,
    card_tables.annotators,
    card_tables.restorations,
    card_tables.robustness,
    _limits,
    _reproduction,
)


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _without_paths(command: str) -> str:
    """A command in which absolute paths are `FOLDER`: they are not on the reader's machine, and private."""
    try:
        words = shlex.split(command)
    except ValueError:  # no command of this project
        return command
    return shlex.join(map(_without_path, words))


def _without_path(word: str) -> str:
    """A word whose path is `FOLDER`; it may be after a mark, as in `onnx:/home/me/net.onnx`."""
    return _FOLDER if _is_absolute(word) else _PATH_AFTER_MARK.sub(rf"\1{_FOLDER}", word)


def _is_absolute(word: str) -> bool:
    return word.startswith("~") or PurePosixPath(word).is_absolute() or PureWindowsPath(word).is_absolute()
