"""Reports of a run for tests: their JSON, complete, with any field replaced."""

from __future__ import annotations

from typing import Any

from fer_models.emotions import LABELS
from fer_models.report.eval_report import EvalReport

SUBJECT = {
    "dataset": "fer2013",
    "split": "private_test",
    "corruption": None,
    "restoration": "raw",
    "model": "vgg19",
    "prompt": None,
}
SCORE = {"value": 0.668, "low": 0.652, "high": 0.683}


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.016, "high": value + 0.015}


def subject(**changed: Any) -> dict[str, Any]:
    assert changed.keys() <= SUBJECT.keys()
    return {**SUBJECT, **changed}


def result(model: str = "vgg19", accuracy: float = 0.668, **changed: Any) -> dict[str, Any]:
    """A result; keywords replace its fields, or those of its subject."""
    names = {key: changed.pop(key) for key in list(changed) if key in SUBJECT}
    fields = {
        "subject": subject(model=model, **names),
        "id": f"{model}-raw on fer2013/private_test",
        "n": 3589,
        "unanswered": 0,
        "metrics": {"accuracy": score(accuracy), "macro_f1": score(accuracy)},
        "per_class": {},
        "confusion": [[1] * 7] * 7,
        "no_answer": [0] * 7,
        "of": 3589,
        "leakage": None,
        "responses": None,
        "votes": None,
        "verdict": "PASS",
        "fails": False,
        "message": "",
        "baseline": None,
        "changes": None,
        "log_loss": None,
        "inference_seconds": 3.14,
        "from_store": False,
        "notes": [],
        "key": "ab12",
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def baseline(accuracy: float) -> dict[str, Any]:
    return {"metrics": {"accuracy": accuracy}, "recorded": {"date": "2026-01-01"}}


def changes(change: float, p: float = 0.5) -> dict[str, Any]:
    return {
        "accuracy": {"change": change, "p": p, "failed": False},
        "faces": {"negative_flips": 1, "positive_flips": 1, "minimum_detectable_fall": 0.016},
    }


def cost(phase: str = "inference", model: str | None = "vgg19", **more: Any) -> dict[str, Any]:
    return {"name": f"{phase}[{model}]", "phase": phase, "model": model, "restoration": "raw", **more}


def face_set(**changed: Any) -> dict[str, Any]:
    fields = {
        "n": 7,
        "of": 7,
        "fingerprint": "9c11",
        "counts": dict.fromkeys(LABELS, 1),
        "notes": [],
        "references": [],
        "audit": None,
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def robustness_entry(**more: Any) -> dict[str, Any]:
    return {
        "subject": subject(),
        "id": "vgg19-raw",
        "n": 14,
        "figures": [],
        "fails": False,
        "message": "",
        **more,
    }


def content(**sections: Any) -> dict[str, Any]:
    """The content of evals.json; what is not given is empty."""
    empty = {
        "schema": 2,
        "depth": {"name": "full", "left_out": []},
        "environment": {},
        "results": [],
        "costs": [],
        "prompts": [],
        "metamorphic": [],
        "corruptions": [],
        "restorations": [],
        "data": {},
        "skipped": [],
        "not_judged": [],
        "errors": [],
        "published": [],
    }
    assert sections.keys() <= empty.keys()
    return {**empty, **sections}


def report(**sections: Any) -> EvalReport:
    return EvalReport.from_json(content(**sections))
