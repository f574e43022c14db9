"""Reports whose pages are opened in a browser: passing, failing, hostile and large ones."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from eval_reports import (
    changed_face,
    changes,
    content,
    face_set,
    full_content,
    full_result,
    restoration_entry,
    selective,
)
from PIL import Image

from fer_models.emotions import LABELS
from fer_models.report.eval_report import EvalReport
from fer_models.report.tests_page import TestsPage

#: Names of the program, as systems install it.
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Texts that run a script where they become markup.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "javascript:alert(4)",
    "</style></script></pre><script>alert(5)</script>",
    "{{ 7 * 7 }}",
)
EMOTION_MATRIX = (np.eye(7, dtype=int) * 300 + 30).tolist()


def launch_chromium(playwright: Any) -> Any | None:
    """Start a headless Chromium of this machine; None where there is none. Nothing is downloaded."""
    program = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if program is None:
        return None
    is_root = os.name == "posix" and os.geteuid() == 0  # Chromium refuses its sandbox to root
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if is_root else [])


def picture(seed: int = 0, side: int = 48) -> str:
    """A picture of noise as a data URL."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _of_model(model: str, restoration: str, accuracy: float, **more: Any) -> dict[str, Any]:
    """A complete result of a model with a restoration."""
    full = full_result(model)
    names = {"model": model, "restoration": restoration, "prompt": None}
    about = {
        "id": f"{model}-{restoration} on fer2013/private_test",
        "confusion": EMOTION_MATRIX,
        "unanswered": 0,
    }
    scores = {
        name: {"value": value, "low": value - 0.016, "high": value + 0.015}
        for name, value in (("accuracy", accuracy), ("macro_f1", 1 - accuracy), ("ece", 0.1))
    }
    return {**full, "subject": {**full["subject"], **names}, **about, "metrics": scores, "flips": [], **more}


def passing_report() -> EvalReport:
    """Three models, two with a restoration; nothing regressed."""
    results = [
        _of_model("vgg19", "raw", 0.708),
        _of_model("vgg19", "gfpgan", 0.699),
        _of_model("resnet50", "raw", 0.666),
        _of_model("resnet50", "gfpgan", 0.658),
        _of_model("clip", "raw", 0.512, verdict="NEW", baseline=None, changes=None, log_loss=None),
    ]
    data = {"fer2013/private_test": face_set(n=3589, of=3589)}
    return EvalReport.from_json(content(results=results, data=data, restorations=[restoration_entry()]))


def failing_report() -> EvalReport:
    """`vgg19` regressed, most of all on fear; everything that a report can have is in it."""
    fell = changes(-0.024, 0.0001)
    fell["accuracy"]["failed"] = True
    fell["recall:fear"] = {"change": -0.1, "p": 0.0002, "failed": True}
    flips = [changed_face(index=i, picture=picture(i)) for i in range(8)]
    flips.append(changed_face(index=9, truth="sad", before="fear", now="sad", picture=picture(9)))
    failed = _of_model(
        "vgg19",
        "raw",
        0.684,
        **{"verdict": "FAIL", "fails": True, "message": "vgg19-raw: accuracy fell.\n> accuracy"},
        changes=fell,
        flips=flips,
    )
    full = full_content()
    others = [_of_model("resnet50", "raw", 0.666), _of_model("vgg19", "gfpgan", 0.699)]
    return EvalReport.from_json({**full, "results": [failed, *others], "errors": []})


def hostile_report() -> EvalReport:
    """A report in which every text from outside would run a script if it became markup."""
    full = full_content()
    texts = iter(HOSTILE * 1000)

    def replaced(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            is_closed = key in ("verdict", "kind", "time", "truth") or value.startswith("data:")
            return value if is_closed else next(texts)
        if isinstance(value, list):
            return [replaced(inner, key) for inner in value]
        if isinstance(value, dict):
            return {k: replaced(inner, k) for k, inner in value.items()}
        return value

    hostile = replaced(full)
    hostile["environment"][HOSTILE[0]] = {HOSTILE[1]: HOSTILE[2]}
    for i, entry in enumerate(hostile["results"]):
        entry["id"] = f"{i} {HOSTILE[i % len(HOSTILE)]}"
        entry["subject"]["model"] = HOSTILE[i % len(HOSTILE)]
        entry["responses"]["entries"][0]["replies"] = [{"text": text, "n": 1} for text in HOSTILE]
    hostile["trends"] = []
    return EvalReport.from_json(hostile)


def large_report(models: int = 20) -> EvalReport:
    """Twice `models` subjects on 3,589 faces, with flips, reliability and everything else."""
    bins = [
        {"lower": i / 15, "upper": (i + 1) / 15, "n": 200, "confidence": (i + 0.5) / 15}
        | {"accuracy": {"value": i / 15, "low": i / 16, "high": (i + 1) / 15}}
        for i in range(15)
    ]
    faces = [changed_face(index=i, picture=picture(i)) for i in range(18)]
    risks = [{"by_probability": i / 150, "by_margin": i / 140, "best": i / 300} for i in range(1, 51)]
    curve = selective(curve=[{"coverage": i / 50, **risk} for i, risk in enumerate(risks, start=1)])
    parts = {"flips": faces, "reliability": bins, "selective": curve}
    results = [
        _of_model(f"model-{i:02}", restoration, 0.5 + i / 100, **parts)
        for i in range(models)
        for restoration in ("raw", "gfpgan")
    ]
    data = {"fer2013/private_test": face_set(n=3589, of=3589, counts=dict.fromkeys(LABELS, 512))}
    return EvalReport.from_json(content(results=results, data=data))


_SUITE = """
import pytest

@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "plain"])
def test_passes(name):
    pass

def test_fails():
    assert "<script>alert(1)</script>" == ""
"""


def with_tests(folder: Path) -> TestsPage:
    """The page that pytest-html writes of a small suite whose ids have markup, with this plugin."""
    (folder / "test_suite.py").write_text(_SUITE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "fer_models.plugin",
        "--html",
        "tests.html",
        "test_suite.py",
    ]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    tests = TestsPage.parse((folder / "tests.html").read_text(encoding="utf-8"))
    assert tests is not None
    return tests
