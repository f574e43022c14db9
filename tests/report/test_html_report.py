"""The page's block, and the file it is rebuilt from."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import eval_reports
from eval_reports import PICTURE, full_content, full_report, full_result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_models.emotions import LABELS
from fer_models.report import figures
from fer_models.report.eval_report import EvalReport
from fer_models.report.figures import Picture
from fer_models.report.formatting import clean
from fer_models.report.html_report import summary_html, write_html
from fer_models.report.report_file import read_report, write_report


class Skeleton(HTMLParser):
    """The tags of a page with their attributes, and its text."""

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


#: Values of closed lists: anything else is refused before there is a page.
CLOSED = {
    "verdict": ("PASS", "FAIL", "INCONCLUSIVE"),
    "kind": ("conflict", "near"),
    "time": ("2026-01-01T12:30:00+00:00", "2026-01-02T12:30:00+00:00"),
}
#: Keys of objects whose keys come from outside.
FREE = ("environment", "templates", "words", "invariances", "questions", "shuffles", "orders", "rotations",
        "flip_rate", "strata", "per_class")  # fmt: skip


def with_every_string(value: Any, text: str, key: str = "") -> Any:
    """`value` with `text` in place of every string in it, and of every free key."""
    if isinstance(value, str):
        return value if value == PICTURE or value in CLOSED.get(key, ()) else text
    if isinstance(value, list):
        return [with_every_string(inner, text) for inner in value]
    if isinstance(value, dict):
        replaced = {k: with_every_string(inner, text, k) for k, inner in value.items()}
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


#: A text that is an emotion would replace a key of the content, such as that of its per-class recall.
OUTSIDE = st.text(min_size=1) | st.text("<>&\"'/=`]!-\x00 scriptonload", min_size=1)


@settings(max_examples=40, deadline=None)
@given(OUTSIDE.filter(lambda text: text not in LABELS))
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
        "Engines and precision",
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
        eval_reports.report(results=[full_result("clip", "INCONCLUSIVE", "too few faces")])
    )


def test_the_first_line_counts_verdicts_and_skips() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert (
        "3 subjects measured, 1 not on this machine, 1 could not be judged FAIL 1 INCONCLUSIVE 1 PASS 1"
        in text
    )


def test_only_the_first_row_of_matrices_stands_open() -> None:
    page = summary_html(eval_reports.report(results=[full_result(f"m{i}") for i in range(5)]))
    assert "2 more matrices" in page
    assert page.count('class="heat"') == 5
    assert "more matrices" not in summary_html(eval_reports.report(results=[full_result("m")]))


def test_a_note_is_written_once_with_all_it_is_about() -> None:
    text = Skeleton(summary_html(full_report())).text
    assert text.count("its prompt was chosen on public_test") == 1
    assert "(vgg19-raw · plain, resnet50-raw · plain, clip-raw · plain)" in text


def test_an_empty_report_is_a_page_that_says_so() -> None:
    page = summary_html(eval_reports.report())
    assert re.findall(r"<h3>([^<]*)</h3>", page) == ["Leaderboard"]
    assert "No model was measured." in page


def test_the_page_is_the_same_when_rebuilt_from_the_file(tmp_path: Path) -> None:
    write_report(full_report(), tmp_path / "evals.json")
    assert summary_html(read_report(tmp_path / "evals.json")) == summary_html(full_report())


def test_a_page_of_its_own_holds_the_same_block(tmp_path: Path) -> None:
    write_html(full_report(), tmp_path / "evals.html")
    page = (tmp_path / "evals.html").read_text()
    assert page.startswith("<!doctype html>")
    assert summary_html(full_report()) in page


def test_a_reader_sees_leaks_raters_drift_and_pairs_of_faces() -> None:
    page = summary_html(full_report())
    for words in (
        "Leaks and label noise",
        "majority of ten raters",
        "DEGRADED",
        "2 example pairs",
        "the same pixels, two labels",
        "n = 3350",
    ):
        assert words in page


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
