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
        "flips": [],
        "slices": [],
        "reliability": [],
        "selective": None,
        "command": f"pytest evals -k '{model}-raw and accuracy'",
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
        "faces": {
            "negative_flips": 1,
            "positive_flips": 1,
            "minimum_detectable_fall": 0.016,
            "required_sample_size": None,
        },
    }


def cost(phase: str = "inference", model: str | None = "vgg19", **more: Any) -> dict[str, Any]:
    return {"name": f"{phase}[{model}]", "phase": phase, "model": model, "restoration": "raw", **more}


def face_set(**changed: Any) -> dict[str, Any]:
    fields = {
        "n": 3589,
        "of": 3589,
        "fingerprint": "9c11",
        "counts": dict.fromkeys(LABELS, 1),
        "notes": [],
        "references": [],
        "audit": None,
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def trend_run(accuracy: float | None = 0.668, day: int = 1, **changed: Any) -> dict[str, Any]:
    fields = {
        "time": f"2026-01-{day:02d}T12:30:00+00:00",
        "n": 3589,
        "accuracy": None if accuracy is None else score(accuracy),
        "verdict": "PASS",
        "from_store": False,
        "cached_only": False,
        "changed": [],
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def trend(*runs: dict[str, Any], limit: int | None = None, **names: Any) -> dict[str, Any]:
    """The trend of a subject; keywords replace the fields of the subject."""
    return {"subject": subject(**names), "limit": limit, "runs": list(runs)}


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
        "parity": [],
        "restorations": [],
        "data": {},
        "skipped": [],
        "not_judged": [],
        "errors": [],
        "published": [],
        "trends": [],
        "cost_ratios": [],
    }
    assert sections.keys() <= empty.keys()
    return {**empty, **sections}


def report(**sections: Any) -> EvalReport:
    return EvalReport.from_json(content(**sections))


# A report with everything.

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def full_result(model: str, verdict: str | None = "PASS", message: str = "") -> dict[str, Any]:
    """A result with every part that a result can have."""
    intervals = {"precision": [0.6, 0.7], "recall": [0.6, 0.7], "f1": None}
    per_class = {"precision": 0.6, "recall": 0.6, "f1": None, "support": 491, "intervals": intervals}
    names = ("accuracy", "accuracy_without_leaks", "macro_f1", "macro_precision", "macro_recall", "ece")
    responses = [{"kind": "exact", "answered": True, "n": 3, "replies": [{"text": "sad", "n": 3}]}]
    log_loss = {"before": 0.52, "now": 0.5, "change": -0.03, "low": -0.04, "high": -0.02, "p": 0.0001}
    return result(
        model,
        prompt="plain",
        id=f"{model}-raw (plain) on fer2013/private_test",
        unanswered=3,
        metrics=dict.fromkeys(names, counted(3000)),
        per_class=dict.fromkeys(LABELS, per_class),
        no_answer=[3, *[0] * 6],
        verdict=verdict,
        message=message,
        baseline=baseline(0.668),
        changes=changes(0.0),
        log_loss={**log_loss, "found": verdict == "INCONCLUSIVE"},
        leakage={"faces": 289, "accuracy_on_leaks": counted(289), "difference": counted(3589)},
        responses={"answered": 3586, "unanswered": 3, "entries": responses},
        votes={
            "majority": counted(3350),
            "one_annotator": counted(3589),
            "strata": {"9-10": counted(5), "0-5": None},
        },
        flips=[changed_face()],
        reliability=[{"lower": 0.6, "upper": 0.66, "n": 9, "confidence": 0.63, "accuracy": SCORE}],
        selective=selective(),
        notes=["its prompt was chosen on public_test"],
    )


def selective(**changed: Any) -> dict[str, Any]:
    """Selective prediction, with a threshold for one target of two."""
    areas = {"aurc": score(0.13), "excess_aurc": score(0.08)}
    checked = {"value": 0.84, "coverage": counted(1795), "error": {**score(0.091), "n": 697}}
    fields = {
        **{"by_probability": areas, "by_margin": areas},
        "accuracy_at": [{"coverage": share, "accuracy": counted(int(3589 * share))} for share in (0.8, 0.9)],
        "targets": [{"target": 0.05, "threshold": None}, {"target": 0.1, "threshold": checked}],
        "curve": [
            {"coverage": share, "by_probability": share / 3, "by_margin": share / 2, "best": share / 9}
            for share in (0.5, 1.0)
        ],
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def changed_face(**changed: Any) -> dict[str, Any]:
    fields = {
        **{"index": 12, "face": "ab12cd34ef56", "truth": "fear", "before": "fear", "now": "sad"},
        "p_true": {"before": 0.81, "now": 0.3},
        "probabilities": {"sad": 0.6, "fear": 0.3, "neutral": 0.1},
        "picture": PICTURE,
    }
    assert changed.keys() <= fields.keys()
    return {**fields, **changed}


def counted(n: int) -> dict[str, Any]:
    return {**SCORE, "n": n}


def audit() -> dict[str, Any]:
    faces = [
        {"split": "train", "source": "row 3", "label": "sad"},
        {"split": "private_test", "source": "row 9", "label": "fear"},
    ]
    near = {"faces": 2, "only": 1, "pairs": 3}
    split = {
        "split": "train",
        "n": 7,
        "counts": dict.fromkeys(LABELS, 1),
        "official": None,
        "official_agrees": None,
        "groups": 1,
        "noise": None,
        "notes": [],
        "exact_duplicates": 1,
        "conflicts": 1,
        "near_duplicates": near,
        "constant": ["row 1"],
        "tiny": [],
        "unreadable": [],
    }
    return {
        "dataset": "fer2013",
        "n": 14,
        "distinct": 13,
        "splits": [split, {**split, "split": "private_test", "near_duplicates": None}],
        "overlaps": [
            {
                "earlier": "train",
                "later": "private_test",
                "exact_duplicates": 1,
                "conflicts": 1,
                "near_duplicates": near,
            }
        ],
        "examples": [
            {"kind": kind, "faces": faces, "correlation": 0.95, "picture": PICTURE}
            for kind in ("conflict", "near")
        ],
    }


def prompt_entry() -> dict[str, Any]:
    tried = {"template": "a photo of a {} face", "words": {"happy": "happy"}, "edits": [], "accuracy": 0.42}
    edited = {**tried, "edits": ["insert 'photo'"], "accuracy": 0.2}
    figure = {
        **{"name": "prompts: worst template", "faces": 3589, "now": 0.4, "baseline": 0.42, "change": -0.02},
        **{"low": -0.03, "high": -0.01, "p": 0.2, "minimum_detectable_change": 0.02, "needed": 7},
        "verdict": "PASS",
    }
    return robustness_entry(
        figures=[figure],
        set={"name": "openai", "source": "s", "templates": ["a {}"], "emotions": {"happy": ["happy"]}},
        sensitivity={
            "ensemble": SCORE,
            "templates": {"a photo of a {} face": SCORE},
            "words": {"happy": {"smiling": SCORE}},
            **{"mean": 0.42, "sd": 0.0, "worst": 0.42, "best": 0.42, "kappa": None, "flip_rate": 0.1},
        },
        invariances={"upper case": 0.0},
        search={"base": tried, "worst": edited, "breaking": None, "tried": 200, "examples": 200, "seed": 0},
    )


def question_entry() -> dict[str, Any]:
    score = {"accuracy": SCORE, "unanswered": 0.1, "changed": 0.2}
    order = {
        "rotations": {"plain+1": score},
        "circular": SCORE,
        "position_shares": [1 / 7] * 7,
        "position_bias": 0.0,
    }
    return robustness_entry(
        question="plain",
        questions={"plain": score},
        kappa=0.5,
        orders={"plain": order},
        shuffles={"plain shuffled 0": score},
    )


def metamorphic_entry() -> dict[str, Any]:
    flip = {"face": "f", "index": 3, "answer": 0, "changed_answer": -1, "change": "5 % brightness"}
    pictures = {"before": PICTURE, "after": PICTURE}
    return robustness_entry(flip_rate={"mirror image": 0.1}, flips=[{**flip, **pictures}], n_robust=2)


def corruption_entry() -> dict[str, Any]:
    accuracy = {"jpeg": [0.6, 0.5]}
    return robustness_entry(clean=0.7, accuracy=accuracy, severities=[1, 3], mean_error=0.45)


def parity_entry() -> dict[str, Any]:
    change = {"before": 0.7, "after": 0.659, "change": -0.041, "low": -0.05, "high": -0.03}
    flip = {"index": 7, "truth": "sad", "reference_answer": "sad", "answer": None}
    return robustness_entry(
        **{"reference": "vgg19", "quantization": "int8-static", "disagreements": 1},
        **{"largest_difference": 0.3, "mean_difference": 0.01, "unanswered": 1, "reference_unanswered": 0},
        **{"accuracy": change, "macro_f1": change, "flips": [flip]},
        **{"bytes": 20_200_000, "reference_bytes": 80_200_000, "verdict": "FAIL", "p": 0.001},
        **{"is_degraded": False, "negative_flips": 1, "positive_flips": 0},
        **{"seconds_per_face": 0.001, "reference_seconds_per_face": None},
    )


def cost_ratio_entry() -> dict[str, Any]:
    figure = {
        **{"name": "cost: ratio to the reference workload", "faces": 32, "now": 13.4, "baseline": 11.1},
        **{"change": 2.3, "low": 2.0, "high": 2.6, "p": None, "minimum_detectable_change": None},
        **{"needed": None, "verdict": "FAIL"},
    }
    more = {"machine": "AMD EPYC, 2 cores", "rounds": 24, "figures": [figure], "fails": True}
    return robustness_entry(**more, message="vgg19-raw: inference takes longer than its baseline")


def restoration_entry() -> dict[str, Any]:
    change = {"before": 0.7, "after": 0.659, "change": -0.041, "low": -0.05, "high": -0.03}
    face = {"index": 7, "truth": "sad", "answers": ["sad", None], "pictures": [PICTURE, PICTURE]}
    return {
        "subject": {"dataset": "fer2013", "split": "private_test", "corruption": None},
        **{"model": "vgg19", "restoration": "gfpgan", "against": "raw", "n": 3589},
        **{"accuracy": change, "macro_f1": change, "corrected": 12, "broken": 34, "p": 0.001},
        **{"minimum_detectable_effect": 0.016, "p_adjusted": 0.002, "verdict": "harms"},
        "required_sample_size": None,
        "per_class": {"sad": {"before": 0.7, "after": 0.6, "corrected": 1, "broken": 2}},
        **{"seconds_per_face": 0.012, "fidelity": 0.98, "seconds_per_corrected_face": None},
        "faces": {"corrected": [], "broken": [face]},
    }


def full_content() -> dict[str, Any]:
    """The content of evals.json with every section."""
    measured = {"batch": 64, "seconds": 0.2, "images_per_second": 310.0, "parameters": 139_600_000}
    majority = {"name": "majority of ten raters", "n": 7, "accuracy": SCORE}
    return content(
        depth={"name": "standard", "left_out": ["corruption severities 1"]},
        environment={"device": "cpu", "packages": {"torch": "2.9.1"}, "options": ["--limit", "70"]},
        results=[
            full_result("vgg19"),
            full_result("resnet50", "FAIL", "resnet50-raw: it fell.\n> accuracy"),
            full_result("clip", "INCONCLUSIVE", "too few faces"),
        ],
        costs=[cost(**measured, macs=None, peak_memory_mb=412.4, measured_on="a machine")],
        prompts=[prompt_entry(), question_entry()],
        metamorphic=[metamorphic_entry()],
        corruptions=[corruption_entry()],
        parity=[parity_entry()],
        restorations=[restoration_entry()],
        data={"fer2013/private_test": face_set(notes=["ok"], references=[majority], audit=audit())},
        skipped=[
            {
                "model": "phi-3.5-vision",
                "reason": "its weights are not here.",
                "command": "fer-models weights get phi-3.5-vision",
            }
        ],
        not_judged=["vgg19-gfpgan on fer2013/private_test"],
        errors=[{"subject": "m", "message": "no such faces"}],
        published=[
            {
                "source": "arXiv:2508.13524",
                "model": "vgg19",
                "dataset": "fer2013",
                "accuracy": 0.6842,
                "protocol": "split not stated",
            }
        ],
        trends=[trend(trend_run(0.66), trend_run(0.64, 2, verdict="FAIL", changed=["weights"]))],
        cost_ratios=[cost_ratio_entry()],
    )


def full_report() -> EvalReport:
    return EvalReport.from_json(full_content())
