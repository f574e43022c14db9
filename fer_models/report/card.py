"""A model card for the Hugging Face Hub from the results of one run.

The card has the scores as `model-index` in its front matter, and as a section "Evaluation" in its text. The
front matter is that of `huggingface_hub.ModelCardData`, and huggingface_hub reads every card back before it
is returned. Nothing is sent anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, UnknownNameError, printable
from fer_models.report import card_edit
from fer_models.report.card_edit import CardError
from fer_models.report.card_section import evaluation_section
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import count
from fer_models.report.markdown_text import code
from fer_models.report.report_entries import Result, face_set_name

__all__ = ("CardError", "new_card", "updated_card")

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_TASK = "image-classification"
#: The task's name in `model-index`, which tells the results of this suite from others.
_TASK_NAME = "Facial emotion recognition (fer-models)"
_TAGS = (_TASK, "facial-emotion-recognition", "fer-models")
_DATASETS = {"synthetic": "Synthetic faces, drawn by a program", "fer2013": "FER-2013"}
_DIGITS = 4


def new_card(report: EvalReport, model: str) -> str:
    """Write a model card.

    Args:
        report: of a run.
        model: the name of one of its models.

    Raises:
        UnknownNameError: the report has no result of this model.
    """
    results = _of_model(report, model)
    data = _card_data(results, model)
    section = card_edit.section_block(evaluation_section(results))
    return _validated(f"---\n{data.to_yaml()}\n---\n\n# {code(model)}\n\n{section}\n", data)


def updated_card(report: EvalReport, model: str, content: str) -> str:
    """Write the scores of a run into a model card, and keep the rest of it byte for byte.

    Args:
        report: of a run.
        model: the name of one of its models.
        content: the card.

    Raises:
        UnknownNameError: the report has no result of this model.
        CardError: the front matter of the card, or the marks of the section, cannot be read.
    """
    results = _of_model(report, model)
    data = _card_data(results, model)
    card = content.removeprefix("\ufeff")
    edited = card_edit.edit(card, data.to_yaml(), evaluation_section(results), _is_own)
    return content[: len(content) - len(card)] + _validated(edited, data)


def _of_model(report: EvalReport, model: str) -> EvalReport:
    """The parts of a report on one model; its faces as they are in the dataset come first."""
    names = {result.subject.model for result in report.results}
    if model not in names:
        reasons = [skip.reason for skip in report.skipped if skip.model == model]
        hint = (
            f"It was skipped: {reasons[0]}" if reasons else "Evaluate it first: fer-models eval --model NAME"
        )
        raise UnknownNameError("model in this report", model, names, hint)
    results = sorted((one for one in report.results if one.subject.model == model), key=_place)
    ids = {result.id for result in results}
    splits = {f"{result.subject.dataset}/{result.subject.split}" for result in results}
    return replace(
        report,
        results=tuple(results),
        costs=(),
        prompts=tuple(one for one in report.prompts if one.subject.model == model),
        metamorphic=tuple(one for one in report.metamorphic if one.subject.model == model),
        corruptions=tuple(one for one in report.corruptions if one.subject.model == model),
        parity=tuple(one for one in report.parity if one.subject.model == model),
        cost_ratios=tuple(one for one in report.cost_ratios if one.subject.model == model),
        restorations=tuple(one for one in report.restorations if one.model == model),
        data={name: faces for name, faces in report.data.items() if name in splits},
        skipped=(),
        not_judged=(),
        errors=tuple(error for error in report.errors if _concerns(error.subject, ids)),
        published=(),
        trends=(),
    )


def _concerns(name: str, ids: Collection[str]) -> bool:
    """Whether an error is of one of these subjects, or of a check of it (`corruptions of ID`)."""
    return name in ids or any(name.endswith(f" of {subject}") for subject in ids)


def _place(result: Result) -> tuple[str, bool, str, str]:
    subject = result.subject
    is_restored = subject.restoration != "raw"
    return face_set_name(subject), is_restored, subject.restoration, subject.prompt or ""


# The front matter.


def _card_data(report: EvalReport, model: str) -> ModelCardData:
    from huggingface_hub import ModelCardData

    return ModelCardData(
        tags=list(_TAGS),
        pipeline_tag=_TASK,
        model_name=printable(model),
        eval_results=[one for result in report.results for one in _eval_results(report, result)],
    )


def _eval_results(report: EvalReport, result: Result) -> Iterator[EvalResult]:
    """The metrics of a result. None is marked as verified: only the Hub's own evaluation does that."""
    from huggingface_hub import EvalResult

    for type_, name, value in _metrics(result):
        yield EvalResult(
            task_type=_TASK,
            task_name=_TASK_NAME,
            metric_type=type_,
            metric_name=name,
            metric_value=round(value, _DIGITS),
            **_dataset(report, result),
        )


def _metrics(result: Result) -> Iterator[tuple[str, str, float]]:
    """Type, name and value of each metric that the result has."""
    names = {
        "accuracy": ("accuracy", "Accuracy"),
        "macro_f1": ("f1", "Macro F1"),
        **{f"recall:{label}": ("recall", f"Recall of {label}") for label in LABELS},
        "ece": ("ece", "Expected calibration error"),
    }
    for metric, (type_, name) in names.items():
        if (value := result.value(metric)) is not None:
            yield type_, name, value


def _dataset(report: EvalReport, result: Result) -> Mapping[str, Any]:
    """The faces of a result. Restoration, corruption and prompts are the configuration of the dataset.

    huggingface_hub writes the metrics on equal datasets, splits and configurations as one entry.
    """
    subject = result.subject
    dataset, split = printable(subject.dataset), printable(subject.split)
    conditions = {
        "restoration": None if subject.restoration == "raw" else subject.restoration,
        "corruption": subject.corruption,
        "prompt": subject.prompt,
    }
    shown = [f"{key}={printable(value)}" for key, value in conditions.items() if value is not None]
    faces = f"{result.n:,} of {count(result.of, 'face')}" if result.is_part else count(result.n, "face")
    described = report.data.get(f"{subject.dataset}/{subject.split}")
    return {
        "dataset_type": dataset,
        "dataset_name": ", ".join((_DATASETS.get(subject.dataset, dataset), split, faces, *shown)),
        "dataset_config": ", ".join(shown) or None,
        "dataset_split": split,
        "dataset_revision": None if described is None else printable(described.fingerprint),
    }


def _is_own(result: Mapping[str, Any]) -> bool:
    """Whether a result in `model-index` is of this suite."""
    return bool(result["task"].get("name") == _TASK_NAME)


def _validated(content: str, data: ModelCardData) -> str:
    """The card, if huggingface_hub reads the scores from it that were written."""
    from huggingface_hub import ModelCard

    results = ModelCard(content).data.get("eval_results", [])
    written = [result for result in results if result.task_name == _TASK_NAME]
    if written != data.eval_results:
        raise FerModelsError(
            "huggingface_hub reads other scores from the card than those of the report. Nothing was written. "
            "Check that names and prompts in the report differ by more than blanks."
        )
    return content
