"""The page, and the file it is rebuilt from."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import eval_reports
import pytest
from eval_reports import PICTURE, face_set, full_content, full_report, full_result, result
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from fer_models.emotions import LABELS
from fer_models.report import figures
from fer_models.report.eval_report import EvalReport
from fer_models.report.formatting import clean
from fer_models.report.html_report import page_html, section_html, subject_anchors, write_html
from fer_models.report.report_file import read_report, write_report
from fer_models.report.svg import Picture
from fer_models.report.tests_page import TestsPage


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
    "verdict": ("PASS", "FAIL", "INCONCLUSIVE", "helps", "harms"),
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
    picture = Picture(Markup("<svg></svg>"), "a figure", 920)
    with patch.object(figures, "to_picture", lambda figure, description: picture):
        page = page_html(EvalReport.from_json(content))
    page.encode("utf-8")
    return Skeleton(page)


def without_values(tags: list[Any]) -> list[Any]:
    """The tags with the names of their attributes: links, ids and labels contain names from outside."""
    return [tag if isinstance(tag, str) else (tag[0], [name for name, _ in tag[1]]) for tag in tags]


def attributes(page: Skeleton, name: str) -> list[str]:
    return [str(value) for tag in page.tags if isinstance(tag, tuple) for key, value in tag[1] if key == name]


#: A text that is an emotion would replace a key of the content, such as that of its per-class recall.
OUTSIDE = st.text(min_size=1) | st.text("<>&\"'/=`]!-\x00 scriptonload", min_size=1)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(OUTSIDE.filter(lambda text: text not in LABELS))
@example("<script>alert(1)</script>")
@example("\"'><img src=x onerror=alert(1)>")
@example("]]></style></pre></details><!--")
@example("{{ 7 * 7 }}{% raw %}")
@example("&lt;b&gt;&#60;")
@example("\ud800\x00\x1b[31m\u202e")
@example("javascript:alert(1)")
def test_no_text_from_outside_ever_becomes_markup(hostile: str) -> None:
    page = skeleton(hostile)
    assert without_values(page.tags) == without_values(skeleton("x").tags)
    assert clean(hostile) in page.text
    assert all(re.fullmatch(r"#[a-z0-9-]+", target) for target in attributes(page, "href"))
    assert all(source.startswith("data:image/png;base64,") for source in attributes(page, "src"))


def test_the_page_runs_its_own_script_only_and_fetches_nothing() -> None:
    page = page_html(full_report())
    tags = [tag for tag in Skeleton(page).tags if isinstance(tag, tuple)]
    names = [name for name, _ in tags]
    assert names.count("script") == 1
    assert not set(names) & {"link", "iframe", "object", "embed", "base"}
    assert not [key for _, attrs in tags for key, _ in attrs if key.startswith("on")]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page), "only references inside a figure"


def test_the_policy_of_the_page_allows_its_script_by_hash_and_no_other() -> None:
    page = page_html(full_report())
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for value in attributes(Skeleton(page), "content") if "default-src" in value]
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy


def test_the_page_closes_every_element_it_opens() -> None:
    open_elements: list[str] = []
    for tag in Skeleton(page_html(full_report())).tags:
        if isinstance(tag, tuple):
            open_elements += [] if tag[0] in ("img", "meta", "input", "br", "path", "use", "g") else [tag[0]]
        elif tag not in ("declaration", "/path", "/use", "/g"):
            assert tag == f"/{open_elements.pop()}"
    assert open_elements == []


def sections_of(page: str) -> list[str]:
    return re.findall(r'<section id="([^"]*)"', page)


def test_the_sections_stand_in_the_order_of_what_matters_and_the_contents_link_to_each() -> None:
    page = page_html(full_report())
    assert sections_of(page) == [
        *("summary", "regressions", "leaderboard", "changed-faces", "subjects", "restoration", "prompts"),
        *("corruptions", "metamorphic", "parity", "costs", "history", "published", "data", "setup"),
    ]
    contents = page.split("<nav")[1].split("</nav>")[0]
    assert re.findall(r'href="#([^"]*)"', contents) == sections_of(page)


def test_every_link_leads_to_a_part_of_the_page() -> None:
    page = Skeleton(page_html(full_report()))
    ids = attributes(page, "id")
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in attributes(page, "href")} <= set(ids)


def test_the_first_screen_has_the_verdict_the_faces_and_what_was_not_run() -> None:
    page = page_html(full_report())
    (headline,) = re.findall(r"<h1[^>]*>([^<]*)</h1>", page)
    assert headline.startswith("resnet50-raw")
    assert '<h1 class="verdict-sentence fail">' in page
    summary = section_html(full_report(), "summary")
    for words in ("fer2013/private_test, 3,589 faces", "Most accurate", "1 skipped", "weights get"):
        assert words in summary


def test_computer_drawn_faces_are_called_so_before_any_number() -> None:
    page = page_html(
        eval_reports.report(results=[result(dataset="synthetic")], data={"synthetic/test": face_set()})
    )
    assert page.index("say nothing about real faces") < page.index("0.668")


def test_a_failure_keeps_its_own_words_and_layout_and_has_the_command_that_repeats_it() -> None:
    block = section_html(full_report(), "regressions")
    assert 'class="fail">resnet50-raw: it fell.\n&gt; accuracy</pre>' in block
    assert "pytest evals -k &#39;resnet50-raw and accuracy&#39;" in block
    assert re.search(r"<details><summary>1 inconclusive", block), (
        "folded while there are failures to read first"
    )


def test_inconclusive_falls_stand_open_if_nothing_failed() -> None:
    report = eval_reports.report(results=[full_result("clip", "INCONCLUSIVE", "too few faces")])
    assert "<details open><summary>1 inconclusive" in section_html(report, "regressions")


def test_the_matrix_has_a_row_for_each_model_and_a_column_for_each_restoration() -> None:
    names = [("a", "raw"), ("a", "gfpgan"), ("b", "raw")]
    results = [result(m, restoration=r, id=f"{m}-{r}") for m, r in names]
    board = section_html(eval_reports.report(results=results), "leaderboard")
    table = board.split('<table class="matrix">')[1].split("</table>")[0]
    assert re.findall(r"<button[^>]*>([^<]*)</button>", table) == ["model", "raw", "gfpgan"]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == ["a", "b"]
    assert re.findall(r'href="#([^"]*)"', table) == ["subject-a-raw", "subject-a-gfpgan", "subject-b-raw"]
    assert table.count("not run") == 1


def test_subjects_whose_names_differ_in_punctuation_only_have_anchors_of_their_own() -> None:
    results = [result(name, id=name) for name in ("a+b", "a-b", "a b")]
    anchors = subject_anchors(eval_reports.report(results=results))
    assert len(set(anchors.values())) == 3


def test_a_changed_face_shows_both_predictions_and_the_probabilities_of_now() -> None:
    block = section_html(full_report(), "changed_faces")
    for words in ("fear → sad", "p(fear) 0.81 → 0.30", "sad 0.60, fear 0.30, neutral 0.10", "face 12"):
        assert words in block


def test_the_worst_prompt_is_shown_as_a_difference_to_the_unedited_one() -> None:
    content = full_content()
    search = content["prompts"][0]["search"]
    search["worst"] = {**search["worst"], "template": "a picture of a {} face", "words": {"happy": "glad"}}
    block = section_html(EvalReport.from_json(content), "prompts")
    assert "a <del>photo</del><ins>picture</ins> of a {} face" in block
    assert "<del>happy</del> <ins>glad</ins>" in block


def test_a_note_is_written_once_with_what_it_is_about() -> None:
    text = Skeleton(section_html(full_report(), "data")).text
    assert text.count("its prompt was chosen on public_test") == 1
    assert "(vgg19-raw · plain, resnet50-raw · plain, clip-raw · plain)" in text


def test_an_empty_report_is_a_page_that_says_so() -> None:
    page = page_html(eval_reports.report())
    assert sections_of(page) == ["summary", "leaderboard"]
    assert "No model was measured." in page


def test_the_page_is_the_same_when_rebuilt_from_the_file(tmp_path: Path) -> None:
    write_report(full_report(), tmp_path / "evals.json")
    write_html(read_report(tmp_path / "evals.json"), tmp_path / "evals.html")
    assert (tmp_path / "evals.html").read_text() == page_html(full_report())


def test_a_reader_sees_leaks_annotators_degraded_and_pairs_of_faces() -> None:
    page = page_html(full_report())
    for words in (
        "Leaks and label noise",
        "majority of ten raters",
        "2 example pairs",
        "the same pixels, two labels",
        "n = 3350",
    ):
        assert words in page
    assert "DEGRADED" in section_html(full_report(), "leaderboard")


def test_a_failed_row_is_marked_by_more_than_its_colour() -> None:
    one = full_result("vgg19", "FAIL", "accuracy fell")
    for name in ("accuracy", "recall:sad"):
        one["changes"][name] = {"change": -0.05, "p": 0.0001, "failed": True}
    page = page_html(eval_reports.report(results=[one]))
    rows = re.findall(r'<tr class="failed"><th scope="row">(.*?)</th>', page)
    assert len(rows) >= 3  # in the regressions, and under the subject: its metrics, and its emotions
    assert all(row.startswith("&gt; ") for row in rows)


def test_an_error_is_shown_with_what_it_is_about() -> None:
    errors = [
        {"subject": f"corruptions of {name}-raw on x/y", "message": "out of memory"} for name in ("a", "b")
    ]
    page = section_html(eval_reports.report(results=[result()], errors=errors), "regressions")
    assert "<b>corruptions of a-raw on x/y</b>" in page
    assert "<b>corruptions of b-raw on x/y</b>" in page


def test_combinations_are_counted_by_their_verdicts() -> None:
    results = [result("a"), result("b", id="b"), result("c", id="c", verdict=None)]
    assert "2 combinations" in re.search(
        r'<p class="verdicts">(.*?):', page_html(eval_reports.report(results=results)), re.DOTALL
    ).group(1)  # type: ignore[union-attr]


def test_a_note_on_the_faces_that_a_result_has_is_shown_once() -> None:
    note = "limited to 350 of 3,589 faces"
    data = {"fer2013/private_test": face_set(notes=[note, "of another kind"])}
    page = section_html(eval_reports.report(results=[result(notes=[note])], data=data), "data")
    assert page.count(note) == 1
    assert "of another kind" in page


def test_no_picture_is_fetched_from_elsewhere() -> None:
    url = "https://example.org/face.png"
    content = full_content()
    for pair in content["data"]["fer2013/private_test"]["audit"]["examples"]:
        pair["picture"] = url
    content["metamorphic"][0]["flips"][0]["after"] = url
    content["restorations"][0]["faces"]["broken"][0]["pictures"][0] = url
    for entry in content["results"]:
        entry["flips"][0]["picture"] = url
    page = page_html(EvalReport.from_json(content))
    assert "example.org" not in page
    assert "<img" not in page
    assert "example pairs" not in page


PYTEST_HTML = """<!DOCTYPE html><html><head><style type="text/css">body { color: red }</style></head>
<body class="x"><h1>tests</h1><p onclick="run()">again</p><script>
start("</b>");
</script></body></html>"""


def test_the_page_of_pytest_html_becomes_a_tab_with_its_style_inside_and_its_script_allowed() -> None:
    tests = TestsPage.parse(PYTEST_HTML)
    assert tests is not None
    page = page_html(full_report(), tests)
    assert "<h1>tests</h1>" in page.split('id="tests"')[1]
    assert ".pytest-html {\nbody { color: red }\n}" in page
    digest = base64.b64encode(hashlib.sha256(b'\nstart("</b>");\n').digest()).decode()
    assert digest in page.split("</head>")[0]
    assert "<p>again</p>" in page
    assert 'role="tab"' in page
    assert 'role="tab"' not in page_html(full_report())


def test_a_text_without_a_body_is_no_page_of_tests() -> None:
    assert TestsPage.parse("no markup") is None


@pytest.mark.parametrize("verdict", ["ERROR", "NEW"])
def test_a_result_that_fails_without_a_fall_says_why(verdict: str) -> None:
    failing = eval_reports.result(verdict=verdict, fails=True, message="<its record> is of other faces")
    block = section_html(eval_reports.report(results=[failing]), "regressions")
    assert "&lt;its record&gt; is of other faces" in block
    assert 'class="fail"' in block
