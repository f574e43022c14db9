"""The page's block, and the file it is rebuilt from."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, UsageError
from fer_models.report import figures
from fer_models.report.html_report import read_json, summary_html, write_json
from fer_models.report.markup import Html, clean
from fer_models.report.tables import VERDICT_STYLES


def result(model: str, verdict: str | None = "PASS", message: str = "") -> dict[str, Any]:
    scores = {"value": 0.668, "low": 0.652, "high": 0.683}
    intervals = {"precision": [0.6, 0.7], "recall": [0.6, 0.7], "f1": None}
    per_class = {"precision": 0.6, "recall": 0.6, "f1": None, "support": 491, "intervals": intervals}
    return {
        "subject": {"dataset": "fer2013", "split": "private_test", "corruption": None, "restoration": "raw", "model": model, "prompt": "plain"},
        "id": f"{model}-raw on fer2013/private_test",
        "n": 3589,
        "unanswered": 3,
        "metrics": dict.fromkeys(("accuracy", "accuracy_without_leaks", "macro_f1", "macro_precision", "macro_recall", "ece"), scores),
        "per_class": dict.fromkeys(LABELS, per_class),
        "confusion": [[1] * 7] * 7,
        "no_answer": [3, *[0] * 6],
        "verdict": verdict,
        "message": message,
        "baseline": {"metrics": {"accuracy": 0.668, "macro_f1": 0.631}, "recorded": {"date": "2026-01-01"}},
        "changes": {"accuracy": {"change": 0.0, "p": 0.5, "fell": 1, "rose": 1}},
        "drift": {"before": 0.52, "now": 0.5, "change": -0.03, "low": -0.04, "high": -0.02, "p": 0.0001, "found": verdict == "INCONCLUSIVE"},
        "leaks": {"faces": 289, "accuracy_on_leaks": {**scores, "n": 289}, "difference": {**scores, "n": 3589}},
        "votes": {"majority": {**scores, "n": 3350}, "one_rater": {**scores, "n": 3589}, "strata": {"9-10": {**scores, "n": 5}, "0-5": None}},
        "inference_seconds": 3.1,
        "from_store": False,
        "notes": ["its prompt was chosen on public_test"],
        "store": "shard.parquet",
    }


def audit() -> dict[str, Any]:
    faces = [{"split": "train", "source": "row 3", "label": "sad"}, {"split": "private_test", "source": "row 9", "label": "fear"}]
    picture = "data:image/png;base64,iVBORw0KGgo="
    near = {"faces": 2, "only": 1, "pairs": 3}
    split = {"split": "train", "n": 7, "copies": 1, "conflicts": 1, "near": near, "constant": ["row 1"], "tiny": [], "unreadable": []}
    return {
        "n": 14,
        "distinct": 13,
        "splits": [split, {**split, "split": "private_test", "near": None}],
        "overlaps": [{"earlier": "train", "later": "private_test", "copies": 1, "conflicts": 1, "near": near}],
        "examples": [{"kind": kind, "faces": faces, "correlation": 0.95, "picture": picture} for kind in ("conflict", "near")],
    }


def full_report() -> dict[str, Any]:
    cost = {"name": "inference[vgg19-raw]", "phase": "inference", "model": "vgg19", "restoration": "raw", "batch": 64, "seconds": 0.2}
    return {
        "schema": 1,
        "environment": {"device": "cpu", "packages": {"torch": "2.9.1"}, "options": ["--limit", "70"]},
        "results": [
            result("vgg19"),
            result("resnet50", "FAIL", "resnet50-raw: it fell.\n> accuracy"),
            result("clip", "INCONCLUSIVE", "too few faces"),
        ],
        "costs": [{**cost, "images_per_second": 310.0, "parameters": 139_600_000, "macs": None, "peak_memory_mb": 412.4}],
        "prompts": [
            {
                "subject": {"dataset": "fer2013", "split": "private_test", "restoration": "raw", "model": "clip-nano", "prompt": "openai"},
                "n": 3589,
                "spread": {
                    "ensemble": {"value": 0.62, "low": 0.6, "high": 0.64},
                    "templates": {"a photo of a {} face": {"value": 0.42, "low": 0.4, "high": 0.44}},
                    "words": {"happy": {"smiling": {"value": 0.5, "low": 0.4, "high": 0.6}}},
                    **{"mean": 0.42, "sd": 0.0, "worst": 0.42, "best": 0.42, "kappa": None, "flip_rate": 0.1},
                },
                "invariances": {"upper case": 0.0},
                "search": {
                    "base": {"template": "a photo of a {} face", "words": {"happy": "happy"}, "edits": [], "accuracy": 0.42},
                    "worst": {"template": "a photo of a photo {} face", "words": {}, "edits": ["insert 'photo'"], "accuracy": 0.2},
                    **{"breaking": None, "tried": 200, "examples": 200, "seed": 0},
                },
            }
        ],
        "restorations": [
            {
                "model": "vgg19",
                "restoration": "gfpgan",
                "against": "raw",
                "accuracy": {"before": 0.7, "after": 0.659, "change": -0.041},
                "verdict": "harms",
            }
        ],
        "data": {
            "fer2013/private_test": {
                "n": 7,
                "fingerprint": "9c11",
                "counts": dict.fromkeys(LABELS, 1),
                "notes": ["ok"],
                "references": [{"name": "majority of ten raters", "n": 7, "accuracy": {"value": 0.633, "low": 0.617, "high": 0.649}}],
                "audit": audit(),
            }
        },
        "skipped": [{"model": "phi-3.5-vision", "reason": "its weights are not here.", "command": "fer-models weights get phi-3.5-vision"}],
        "published": [{"source": "arXiv:2508.13524", "model": "vgg19", "dataset": "fer2013", "accuracy": 0.6842, "protocol": "split not stated"}],
    }


class Skeleton(HTMLParser):
    """A page without its words: the tags with their attributes, and beside them the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.tags.append("declaration")

    def unknown_decl(self, data: str) -> None:
        self.tags.append("unknown declaration")

    def handle_pi(self, data: str) -> None:
        self.tags.append("processing instruction")


def with_every_string(value: Any, text: str) -> Any:
    """`value` with `text` in place of every string in it, and of every free key."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [with_every_string(inner, text) for inner in value]
    if isinstance(value, dict):
        replaced = {key: with_every_string(inner, text) for key, inner in value.items()}
        return {**replaced, text: text, text + "2": {text: text}} if "device" in value or "counts" in value else replaced
    return value


@cache
def skeleton(text: str) -> Skeleton:
    report = with_every_string(full_report(), text)
    report["prompts"][0]["spread"]["templates"][text] = {"value": 0.1}
    (faces,) = (data for name, data in report["data"].items() if name.startswith("fer2013/"))
    for pair, genuine in zip(faces["audit"]["examples"], audit()["examples"], strict=True):
        pair["picture"] = genuine["picture"]  # anything else is not shown
    report["data"] = {f"{text}/{text}": faces}
    with patch.object(figures, "_image", lambda figure, description: Html("<img>")):
        page = summary_html(report)
    page.encode("utf-8")
    return Skeleton(page)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1) | st.text("<>&\"'/=`]!-\x00 scriptonload", min_size=1))
@example("<script>alert(1)</script>")
@example("\"'><img src=x onerror=alert(1)>")
@example("]]></style></pre></details><!--")
@example("&lt;b&gt;&#60;")
@example("\ud800\x00\x1b[31m\u202e")
def test_no_text_from_outside_ever_becomes_markup(hostile: str) -> None:
    assume(not hostile.endswith((*VERDICT_STYLES, "DRIFT")))  # verdicts are a closed list of words, which have styles
    page = skeleton(hostile)
    assert page.tags == skeleton("x").tags
    assert clean(hostile) in page.text


def test_the_page_holds_no_script_and_fetches_nothing() -> None:
    page = summary_html(full_report())
    tags = [tag for tag in Skeleton(page).tags if isinstance(tag, tuple)]
    assert not {name for name, _ in tags} & {"script", "link", "iframe", "object", "a", "form"}
    attributes = {name: value for _, attrs in tags for name, value in attrs}
    assert not [name for name in attributes if name.startswith("on")]
    assert str(attributes["src"]).startswith("data:image/png;base64,")
    assert "url(" not in page
    assert "@import" not in page


def test_every_rule_of_the_style_stays_inside_the_block() -> None:
    page = summary_html({})
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", page[page.index("<style>") + 7 : page.index("</style>")])
    selectors = [selector.strip() for rule in rules for selector in rule.split(",")]
    assert len(selectors) > 20
    assert all(re.match(r"\.fer\b", selector) for selector in selectors)
    assert page.startswith('<div class="fer">')


def test_the_page_closes_every_element_it_opens() -> None:
    open_elements: list[str] = []
    for tag in Skeleton(summary_html(full_report())).tags:
        if isinstance(tag, tuple):
            open_elements += [] if tag[0] == "img" else [tag[0]]
        else:
            assert tag == f"/{open_elements.pop()}"
    assert open_elements == []


def test_the_sections_stand_in_the_order_of_what_matters() -> None:
    titles = re.findall(r"<h3>([^<]*)</h3>", summary_html(full_report()))
    expected = [
        "Leaderboard",
        "What fell",
        "Accuracy",
        "Confusion matrices",
        "Per emotion",
        "Leaks and label noise",
        "Restoration",
        "Prompts and questions",
        "Costs",
        "Skipped",
    ]
    assert titles == [*expected, "Published claims, not measured here", "Faces", "Environment"]


def test_a_failure_keeps_its_own_words_and_layout() -> None:
    page = summary_html(full_report())
    assert '<pre class="fail">resnet50-raw: it fell.\n&gt; accuracy</pre>' in page
    assert "<pre>too few faces</pre>" in page
    assert re.search(r"<details><summary>1 inconclusive", page), "folded while there are failures to read first"


def test_inconclusive_falls_stand_open_if_nothing_failed() -> None:
    assert "<details open><summary>1 inconclusive" in summary_html({"results": [result("clip", "INCONCLUSIVE", "too few faces")]})


def test_the_first_line_counts_verdicts_and_skips() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert "3 subjects measured, 1 not on this machine FAIL 1 INCONCLUSIVE 1 PASS 1" in text


def test_only_the_first_row_of_matrices_stands_open() -> None:
    page = summary_html({"results": [result(f"m{i}") for i in range(5)]})
    assert "2 more matrices" in page
    assert page.count('class="heat"') == 5
    assert "more matrices" not in summary_html({"results": [result("m")]})


def test_a_note_is_written_once_with_all_it_is_about() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert text.count("its prompt was chosen on public_test") == 1
    assert "(vgg19-raw · plain, resnet50-raw · plain, clip-raw · plain)" in text


@pytest.mark.parametrize("empty", [{}, {"results": []}, dict.fromkeys(full_report())])
def test_an_empty_report_is_a_page_that_says_so(empty: dict[str, Any]) -> None:
    page = summary_html(empty)
    assert re.findall(r"<h3>([^<]*)</h3>", page) == ["Leaderboard"]
    assert "No model was measured." in page


def test_any_one_key_of_a_result_may_be_missing() -> None:
    with patch.object(figures, "_image", lambda figure, description: Html("<img>")):
        for key in result("m"):
            partial = result("m")
            del partial[key]
            assert "Leaderboard" in summary_html({"results": [partial]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=3))
@example({"text": "\ud800 \u2028 é"})
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, more: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("report") / "new" / "evals.json"
    report = {**more, "schema": 1, "results": []}
    write_json(report, path)
    assert read_json(path) == report
    assert list(read_json(path)) == list(report), "the contract's order is kept"


def test_the_page_is_the_same_when_rebuilt_from_the_file(tmp_path: Path) -> None:
    write_json(full_report(), tmp_path / "evals.json")
    assert summary_html(read_json(tmp_path / "evals.json")) == summary_html(full_report())


def test_writing_leaves_one_file_that_ends_with_a_newline(tmp_path: Path) -> None:
    write_json({"schema": 1, "results": []}, tmp_path / "evals.json")
    assert [path.name for path in tmp_path.iterdir()] == ["evals.json"]
    assert (tmp_path / "evals.json").read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (float("nan"), r"report\.results\[0\]\.metrics is nan"),
        (float("-inf"), r"report\.results\[0\]\.metrics is -inf"),
        (np.int64(3), r"report\.results\[0\]\.metrics is a int64"),
        ({1: 2}, r"report\.results\[0\]\.metrics has the key 1"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name_and_the_old_file_stays(tmp_path: Path, bad: Any, words: str) -> None:
    path = tmp_path / "evals.json"
    path.write_text("old")
    with pytest.raises(FerModelsError, match=words):
        write_json({"schema": 1, "results": [{"metrics": bad}]}, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["evals.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a report: Expecting"),
        ('{"schema": 1, "results": [NaN]}', "it holds NaN"),
        ("[]", "no list of results"),
        ('{"schema": 1}', "no list of results"),
        ('{"schema": 2, "results": []}', "has schema 2, this version reads 1"),
        ('{"results": []}', "has schema None"),
    ],
)
def test_a_file_that_is_no_report_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "evals.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_binary_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_json(tmp_path / "evals.json")
    (tmp_path / "evals.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UsageError, match="is not a report"):
        read_json(tmp_path / "evals.json")


def test_numpy_floats_are_written_as_numbers(tmp_path: Path) -> None:
    write_json({"schema": 1, "results": [], "x": np.float64(0.5)}, tmp_path / "evals.json")
    assert json.loads((tmp_path / "evals.json").read_text())["x"] == 0.5


def test_a_reader_sees_leaks_raters_drift_and_pairs_of_faces() -> None:
    page = summary_html(full_report())
    for said in ("Leaks and label noise", "majority of ten raters", "DRIFT", "2 pairs to look at", "the same pixels, two labels", "n = 3350"):
        assert said in page


def test_no_picture_is_fetched_from_elsewhere() -> None:
    report = full_report()
    for pair in report["data"]["fer2013/private_test"]["audit"]["examples"]:
        pair["picture"] = "https://example.org/face.png"
    assert "example.org" not in summary_html(report)
    assert "pairs to look at" not in summary_html(report)
