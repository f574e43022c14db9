"""The page's block, and the file it is rebuilt from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import eval_reports
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, UsageError
from fer_models.report import figures
from fer_models.report.eval_report import EvalReport
from fer_models.report.figures import Picture
from fer_models.report.formatting import clean
from fer_models.report.html_report import summary_html, write_html
from fer_models.report.report_file import read_report, write_report

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def result(model: str, verdict: str | None = "PASS", message: str = "") -> dict[str, Any]:
    """A result with every part that a result can have."""
    intervals = {"precision": [0.6, 0.7], "recall": [0.6, 0.7], "f1": None}
    per_class = {"precision": 0.6, "recall": 0.6, "f1": None, "support": 491, "intervals": intervals}
    names = ("accuracy", "accuracy_without_leaks", "macro_f1", "macro_precision", "macro_recall", "ece")
    responses = [{"kind": "exact", "answered": True, "n": 3, "replies": [{"text": "sad", "n": 3}]}]
    log_loss = {"before": 0.52, "now": 0.5, "change": -0.03, "low": -0.04, "high": -0.02, "p": 0.0001}
    return eval_reports.result(
        model,
        prompt="plain",
        unanswered=3,
        metrics=dict.fromkeys(names, counted(3000)),
        per_class=dict.fromkeys(LABELS, per_class),
        no_answer=[3, *[0] * 6],
        verdict=verdict,
        message=message,
        baseline=eval_reports.baseline(0.668),
        changes=eval_reports.changes(0.0),
        log_loss={**log_loss, "found": verdict == "INCONCLUSIVE"},
        leakage={"faces": 289, "accuracy_on_leaks": counted(289), "difference": counted(3589)},
        responses={"answered": 3586, "unanswered": 3, "entries": responses},
        votes={
            "majority": counted(3350),
            "one_annotator": counted(3589),
            "strata": {"9-10": counted(5), "0-5": None},
        },
        notes=["its prompt was chosen on public_test"],
    )


def counted(n: int) -> dict[str, Any]:
    return {**eval_reports.SCORE, "n": n}


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
    return eval_reports.robustness_entry(
        figures=[figure],
        set={"name": "openai", "source": "s", "templates": ["a {}"], "emotions": {"happy": ["happy"]}},
        sensitivity={
            "ensemble": eval_reports.SCORE,
            "templates": {"a photo of a {} face": eval_reports.SCORE},
            "words": {"happy": {"smiling": eval_reports.SCORE}},
            **{"mean": 0.42, "sd": 0.0, "worst": 0.42, "best": 0.42, "kappa": None, "flip_rate": 0.1},
        },
        invariances={"upper case": 0.0},
        search={"base": tried, "worst": edited, "breaking": None, "tried": 200, "examples": 200, "seed": 0},
    )


def question_entry() -> dict[str, Any]:
    score = {"accuracy": eval_reports.SCORE, "unanswered": 0.1, "changed": 0.2}
    order = {
        "rotations": {"plain+1": score},
        "circular": eval_reports.SCORE,
        "position_shares": [1 / 7] * 7,
        "position_bias": 0.0,
    }
    return eval_reports.robustness_entry(
        question="plain",
        questions={"plain": score},
        kappa=0.5,
        orders={"plain": order},
        shuffles={"plain shuffled 0": score},
    )


def metamorphic_entry() -> dict[str, Any]:
    flip = {"face": "f", "index": 3, "answer": 0, "changed_answer": -1, "change": "5 % brightness"}
    pictures = {"before": PICTURE, "after": PICTURE}
    return eval_reports.robustness_entry(
        flip_rate={"mirror image": 0.1}, flips=[{**flip, **pictures}], n_robust=2
    )


def corruption_entry() -> dict[str, Any]:
    accuracy = {"jpeg": [0.6, 0.5]}
    return eval_reports.robustness_entry(clean=0.7, accuracy=accuracy, severities=[1, 3], mean_error=0.45)


def restoration_entry() -> dict[str, Any]:
    change = {"before": 0.7, "after": 0.659, "change": -0.041, "low": -0.05, "high": -0.03}
    face = {"index": 7, "truth": "sad", "answers": ["sad", None], "pictures": [PICTURE, PICTURE]}
    return {
        "subject": {"dataset": "fer2013", "split": "private_test", "corruption": None},
        **{"model": "vgg19", "restoration": "gfpgan", "against": "raw", "n": 3589},
        **{"accuracy": change, "macro_f1": change, "corrected": 12, "broken": 34, "p": 0.001},
        **{"minimum_detectable_effect": 0.016, "p_adjusted": 0.002, "verdict": "harms"},
        "per_class": {"sad": {"before": 0.7, "after": 0.6, "corrected": 1, "broken": 2}},
        **{"seconds_per_face": 0.012, "fidelity": 0.98, "seconds_per_corrected_face": None},
        "faces": {"corrected": [], "broken": [face]},
    }


def full_content() -> dict[str, Any]:
    """The content of evals.json with every section."""
    measured = {"batch": 64, "seconds": 0.2, "images_per_second": 310.0, "parameters": 139_600_000}
    majority = {"name": "majority of ten raters", "n": 7, "accuracy": eval_reports.SCORE}
    return eval_reports.content(
        depth={"name": "standard", "left_out": ["corruption severities 1"]},
        environment={"device": "cpu", "packages": {"torch": "2.9.1"}, "options": ["--limit", "70"]},
        results=[
            result("vgg19"),
            result("resnet50", "FAIL", "resnet50-raw: it fell.\n> accuracy"),
            result("clip", "INCONCLUSIVE", "too few faces"),
        ],
        costs=[eval_reports.cost(**measured, macs=None, peak_memory_mb=412.4, measured_on="a machine")],
        prompts=[prompt_entry(), question_entry()],
        metamorphic=[metamorphic_entry()],
        corruptions=[corruption_entry()],
        restorations=[restoration_entry()],
        data={
            "fer2013/private_test": eval_reports.face_set(notes=["ok"], references=[majority], audit=audit())
        },
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
    )


def full_report() -> EvalReport:
    return EvalReport.from_json(full_content())


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


#: Keys whose values come from closed lists.
CLOSED = ("verdict", "kind")
#: Keys of objects whose own keys come from outside.
FREE = ("environment", "templates", "words", "invariances", "questions", "shuffles", "orders", "rotations",
        "flip_rate", "strata", "per_class")  # fmt: skip


def with_every_string(value: Any, text: str, key: str = "") -> Any:
    """`value` with `text` in place of every string in it, and of every free key."""
    if isinstance(value, str):
        return value if value == PICTURE else text
    if isinstance(value, list):
        return [with_every_string(inner, text) for inner in value]
    if isinstance(value, dict):
        replaced = {
            k: inner if k in CLOSED and value.get("answered") is None else with_every_string(inner, text, k)
            for k, inner in value.items()
        }
        if key in FREE and replaced:
            first = next(iter(replaced.values()))
            return {**replaced, text: first, text + "2": {text: text} if key == "environment" else first}
        return replaced
    return value


@cache
def skeleton(text: str) -> Skeleton:
    content = with_every_string(full_content(), text)
    (faces,) = content["data"].values()
    faces["counts"] = {text: 1}
    content["data"] = {f"{text}/{text}": faces}
    content["corruptions"][0]["accuracy"] = {text: [0.5, 0.4]}
    with patch.object(figures, "_picture", lambda figure, description: Picture(PICTURE, description, 920)):
        page = summary_html(EvalReport.from_json(content))
    page.encode("utf-8")
    return Skeleton(page)


def without_values(tags: list[Any]) -> list[Any]:
    """The tags without the texts of `alt`, which describe charts with names from outside."""
    return [tag if isinstance(tag, str) else (tag[0], [a for a in tag[1] if a[0] != "alt"]) for tag in tags]


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1) | st.text("<>&\"'/=`]!-\x00 scriptonload", min_size=1))
@example("<script>alert(1)</script>")
@example("\"'><img src=x onerror=alert(1)>")
@example("]]></style></pre></details><!--")
@example("{{ 7 * 7 }}{% raw %}")
@example("&lt;b&gt;&#60;")
@example("\ud800\x00\x1b[31m\u202e")
def test_no_text_from_outside_ever_becomes_markup(hostile: str) -> None:
    page = skeleton(hostile)
    assert without_values(page.tags) == without_values(skeleton("x").tags)
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
    page = summary_html(eval_reports.report())
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
    assert titles == [
        "Leaderboard",
        "Regressions",
        "Errors",
        "Accuracy",
        "Confusion matrices",
        "Per emotion",
        "Leaks and label noise",
        "Restoration",
        "Response parsing",
        "Prompts and questions",
        "Corruption robustness",
        "Metamorphic robustness",
        "Costs",
        "Skipped",
        "Published claims, not measured here",
        "Faces",
        "Environment",
    ]


def test_a_failure_keeps_its_own_words_and_layout() -> None:
    page = summary_html(full_report())
    assert '<pre class="fail">resnet50-raw: it fell.\n&gt; accuracy</pre>' in page
    assert "<pre>too few faces</pre>" in page
    assert re.search(r"<details><summary>1 inconclusive", page), (
        "folded while there are failures to read first"
    )


def test_inconclusive_falls_stand_open_if_nothing_failed() -> None:
    assert "<details open><summary>1 inconclusive" in summary_html(
        eval_reports.report(results=[result("clip", "INCONCLUSIVE", "too few faces")])
    )


def test_the_first_line_counts_verdicts_and_skips() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert (
        "3 subjects measured, 1 not on this machine, 1 could not be judged FAIL 1 INCONCLUSIVE 1 PASS 1"
        in text
    )


def test_only_the_first_row_of_matrices_stands_open() -> None:
    page = summary_html(eval_reports.report(results=[result(f"m{i}") for i in range(5)]))
    assert "2 more matrices" in page
    assert page.count('class="heat"') == 5
    assert "more matrices" not in summary_html(eval_reports.report(results=[result("m")]))


def test_a_note_is_written_once_with_all_it_is_about() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert text.count("its prompt was chosen on public_test") == 1
    assert "(vgg19-raw · plain, resnet50-raw · plain, clip-raw · plain)" in text


def test_an_empty_report_is_a_page_that_says_so() -> None:
    page = summary_html(eval_reports.report())
    assert re.findall(r"<h3>([^<]*)</h3>", page) == ["Leaderboard"]
    assert "No model was measured." in page


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path of every value in a JSON value, and what holds it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key), value
        yield from paths(inner, (*path, key))


def changed_at(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """The full content after `change(parent, key)` at a path."""
    content = json.loads(json.dumps(full_content()))  # no object is in it twice
    parent: Any = content
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return content


def named(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


#: Objects whose keys are free.
OPEN = {
    *("data", "counts", "metrics", "per_class", "intervals", "strata", "emotions", "templates", "words"),
    *("invariances", "questions", "shuffles", "orders", "rotations", "flip_rate", "accuracy", "changes"),
}


def may_be_missing(path: tuple[Any, ...], parent: Any) -> bool:
    """Whether JSON at a path is free, or optional by the design of the file."""
    *above, key = path
    if isinstance(key, int) or {"environment", "published", "recorded"} & set(path) or path == ("schema",):
        return True
    if above and above[0] == "costs":
        return key not in ("name", "phase", "model", "restoration")
    if "value" in parent or key == "command":
        return key in ("n", "command")
    holder = "words" if "words" in above else above[-1] if above else None
    if holder == "accuracy" and above[0] == "restorations":
        return False
    return (holder in OPEN and key != "faces") or (holder == "faces" and "broken" in parent)


def test_any_missing_field_is_refused_by_name() -> None:
    checked = 0
    for path, parent in paths(full_content()):
        if may_be_missing(path, parent):
            continue
        content = changed_at(path, lambda holder, name: holder.pop(name))
        words = "no list of results" if path == ("results",) else f"{re.escape(named(path))} is "
        with pytest.raises(UsageError, match=words):
            EvalReport.from_json(content)
        checked += 1
    assert checked > 150


def test_any_value_of_a_wrong_type_is_refused_by_name() -> None:
    checked = 0
    for path, _ in paths(full_content()):
        if set(path) & {"environment", "published", "measured_on", "recorded", "schema"}:
            continue
        content = changed_at(path, lambda holder, name: holder.__setitem__(name, object()))
        words = "no list of results" if path == ("results",) else re.escape(named(path))
        with pytest.raises(UsageError, match=words):
            EvalReport.from_json(content)
        checked += 1
    assert checked > 400


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("results", 0, "n"), True, "is True, but it must be an integer"),
        (("results", 0, "n"), 0.5, "is 0.5, but it must be an integer"),
        (("results", 0, "from_store"), 1, "is 1, but it must be true or false"),
        (("results", 0, "verdict"), "[bold]", "must be one of PASS, FAIL, ERROR, INCONCLUSIVE, NEW"),
        (("results", 0, "log_loss", "found"), "DEGRADED", "it must be true or false"),
        (("results", 0, "new"), 1, "is unknown to this version"),
        (("results", 0, "metrics", "accuracy", "low"), float("nan"), r"accuracy.low is nan"),
        (("environment", "x"), [float("inf")], r"environment.x\[0\] is inf"),
        (("environment", "x"), np.int64(3), "environment.x is a int64"),
        (("environment", "x"), {1: 2}, "environment.x has the key 1"),
        (("costs", 0, "x"), {"y": float("-inf")}, r"costs\[0\].x.y is -inf"),
        (("restorations", 0, "faces", "more"), [], "must be one of corrected, broken"),
        (("new",), 1, "The field new is unknown"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(
    path: tuple[Any, ...], value: Any, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        EvalReport.from_json(changed_at(path, lambda holder, key: holder.__setitem__(key, value)))


NUMBERS = st.integers(-(10**28), 10**28) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), JSON, max_size=3))
@example({"text": "\ud800 \u2028 é"})
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, more: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("report") / "new" / "evals.json"
    content = {**full_content(), "environment": more, "published": [more]}
    report = EvalReport.from_json(content)
    write_report(report, path)
    assert read_report(path) == report
    assert list(json.loads(path.read_text())) == list(content), "the contract's order is kept"


def test_no_field_is_lost_or_added_between_reading_and_writing() -> None:
    assert full_report().to_json() == full_content()


def test_the_page_is_the_same_when_rebuilt_from_the_file(tmp_path: Path) -> None:
    write_report(full_report(), tmp_path / "evals.json")
    assert summary_html(read_report(tmp_path / "evals.json")) == summary_html(full_report())


def test_a_page_of_its_own_holds_the_same_block(tmp_path: Path) -> None:
    write_html(full_report(), tmp_path / "evals.html")
    page = (tmp_path / "evals.html").read_text()
    assert page.startswith("<!doctype html>")
    assert summary_html(full_report()) in page


def test_writing_leaves_one_file_that_ends_with_a_newline(tmp_path: Path) -> None:
    write_report(eval_reports.report(), tmp_path / "evals.json")
    assert [path.name for path in tmp_path.iterdir()] == ["evals.json"]
    assert (tmp_path / "evals.json").read_text().endswith("}\n")


def test_what_json_cannot_hold_is_refused_by_name_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "evals.json"
    path.write_text("old")
    for value, words in ((float("nan"), "is nan"), (np.int64(3), "is a int64"), ({1: 2}, "has the key 1")):
        report = replace(eval_reports.report(), environment={"device": value})
        with pytest.raises(FerModelsError, match=f"environment.device {words}"):
            write_report(report, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["evals.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a report: Expecting"),
        ('{"schema": 2, "results": [NaN]}', "it holds NaN"),
        ("[]", "no list of results"),
        ('{"schema": 2}', "no list of results"),
        ('{"schema": 1, "results": []}', "has schema 1, but this version reads schema 2"),
        ('{"schema": 2, "results": []}', "The field depth is missing"),
        ('{"results": []}', "has schema None"),
    ],
)
def test_a_file_that_is_no_report_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "evals.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_binary_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_report(tmp_path / "evals.json")
    (tmp_path / "evals.json").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UsageError, match="is not a report"):
        read_report(tmp_path / "evals.json")


def test_numpy_floats_are_written_as_numbers(tmp_path: Path) -> None:
    report = eval_reports.report(environment={"x": np.float64(0.5)})
    write_report(report, tmp_path / "evals.json")
    assert json.loads((tmp_path / "evals.json").read_text())["environment"]["x"] == 0.5


def test_a_reader_sees_leaks_raters_drift_and_pairs_of_faces() -> None:
    page = summary_html(full_report())
    for said in (
        "Leaks and label noise",
        "majority of ten raters",
        "DEGRADED",
        "2 example pairs",
        "the same pixels, two labels",
        "n = 3350",
    ):
        assert said in page


def test_no_picture_is_fetched_from_elsewhere() -> None:
    url = "https://example.org/face.png"
    content = full_content()
    for pair in content["data"]["fer2013/private_test"]["audit"]["examples"]:
        pair["picture"] = url
    content["metamorphic"][0]["flips"][0]["after"] = url
    content["restorations"][0]["faces"]["broken"][0]["pictures"][0] = url
    page = summary_html(EvalReport.from_json(content))
    assert "example.org" not in page
    assert page.count("<img") == 2, "the charts"
    assert "example pairs" not in page
