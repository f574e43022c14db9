"""The figures of the page."""

from __future__ import annotations

import re
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from eval_reports import cost, face_set, report, result
from markupsafe import Markup
from matplotlib.figure import Figure

from fer_models.emotions import LABELS
from fer_models.report import figures
from fer_models.report.svg import Picture
from fer_models.report.templates import render

MATRIX = (np.eye(7, dtype=int) * 30 + 1).tolist()
COUNTS = dict(zip(LABELS, (491, 55, 528, 879, 594, 416, 626), strict=True))


def confusion(**changed: Any) -> str:
    (entry,) = report(results=[result(**{"confusion": MATRIX, **changed})]).results
    return render("confusion_matrix", result=entry)


def inference(model: str, speed: float) -> dict[str, Any]:
    return cost(model=model, images_per_second=speed)


def elements(picture: Picture | None) -> list[ElementTree.Element]:
    """The elements of a figure; an invalid figure is an error."""
    assert picture is not None
    return list(ElementTree.fromstring(picture.svg).iter())


@pytest.fixture
def charts(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The matplotlib figures of the charts, before they are drawn."""
    made: list[Figure] = []

    def keep(figure: Figure, description: str) -> Picture:
        made.append(figure)
        return Picture(Markup("<svg></svg>"), description, 920)

    monkeypatch.setattr(figures, "to_picture", keep)
    return made


def texts(figure: Figure) -> set[str]:
    labels = [label.get_text() for ax in figure.axes for label in (*ax.get_yticklabels(), *ax.texts)]
    return {
        *labels,
        *(ax.get_title("left") for ax in figure.axes),
        *(text.get_text() for legend in figure.legends for text in legend.get_texts()),
    }


def test_the_rows_of_a_confusion_matrix_are_normalised_and_keep_their_counts() -> None:
    table = confusion()
    assert table.count("<b>84%</b><i>31</i>") == 7
    assert table.count("<b>3%</b><i>1</i>") == 42
    assert all(f">{label}</th>" in table for label in LABELS)
    assert "no prediction" not in table


def test_unanswered_faces_have_their_own_column_and_count_in_the_row() -> None:
    table = confusion(no_answer=[37, 0, 0, 0, 0, 0, 0])
    assert ">no prediction</th>" in table
    assert "<b>50%</b><i>37</i>" in table


def test_an_emotion_without_faces_leaves_its_row_empty() -> None:
    assert confusion(confusion=[[0] * 7, *MATRIX[1:]]).count('class="zero"') == 7


def test_the_share_of_a_cell_is_given_to_the_style() -> None:
    table = confusion(confusion=np.diag([9] * 7).tolist())
    assert table.count('style="--share:1.000"') == 7


def test_a_figure_is_an_svg_with_a_description_in_the_colours_of_the_page() -> None:
    picture = figures.leaderboard(report(results=[result()]))
    assert elements(picture)[0].tag.endswith("svg")
    assert picture is not None
    assert picture.description.startswith("Accuracy")
    colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", picture.svg))
    assert {"var(--accent)", "var(--ink)", "var(--muted)"} <= colours
    assert all(colour == "none" or colour.startswith("var(--") for colour in colours)
    assert len(picture.svg) < 40_000


def test_the_same_report_gives_the_same_figure() -> None:
    one = report(results=[result()])
    assert figures.leaderboard(one) == figures.leaderboard(one)


def test_drawing_leaves_no_trace_in_pyplot() -> None:
    figures.leaderboard(report(results=[result()]))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_the_majority_share_is_shown_if_the_counts_are_known(charts: list[Figure]) -> None:
    faces = {"fer2013/private_test": face_set(counts=COUNTS)}
    figures.leaderboard(report(results=[result()], data=faces))
    lines = [line.get_xdata()[0] for line in charts[0].axes[0].lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert lines == [pytest.approx(879 / 3589)]
    assert "always the most frequent emotion" in texts(charts[0])


def test_published_claims_on_the_same_data_are_hollow_and_called_claims(charts: list[Figure]) -> None:
    published = [
        {"model": "vgg19", "dataset": "fer2013", "accuracy": 0.73},
        {"model": "human", "dataset": "fer2013", "accuracy": 0.65},
        {"model": "elsewhere", "dataset": "raf-db", "accuracy": 0.9},
        {"model": "other-split", "dataset": "fer2013", "split": "public_test", "accuracy": 0.7},
        {"model": "in words", "dataset": "fer2013", "accuracy": "about 70 %"},
    ]
    figures.leaderboard(report(results=[result()], published=published))
    hollow = [
        float(line.get_xdata()[0])
        for line in charts[0].axes[0].lines
        if line.get_marker() == "D" and len(line.get_xdata())
    ]  # type: ignore[index,arg-type]
    assert hollow == [0.73, 0.65]
    assert {"vgg19-raw", "human", "published claim, not measured here"} <= texts(charts[0])
    assert not texts(charts[0]) & {"elsewhere", "other-split", "in words"}


def test_the_legend_explains_only_what_is_shown(charts: list[Figure]) -> None:
    figures.leaderboard(report(results=[result()]))
    assert texts(charts[0]) == {"vgg19-raw", "fer2013/private_test", "measured here, 95 % interval"}


def test_corrupted_faces_have_a_panel_only_if_there_are_no_others(charts: list[Figure]) -> None:
    figures.leaderboard(report(results=[result(), result(corruption="blur:3")]))
    figures.leaderboard(report(results=[result(corruption="blur:3")]))
    assert [ax.get_title("left") for figure in charts for ax in figure.axes] == [
        "fer2013/private_test",
        "fer2013/private_test, blur:3",
    ]


def test_the_cost_chart_takes_the_fastest_batch_of_each_subject(charts: list[Figure]) -> None:
    costs = [inference("vgg19", speed) for speed in (100, 310, 200)]
    step = cost("training step", images_per_second=9)
    figures.cost(report(results=[result(), result("untimed")], costs=[*costs, step]))
    lines = charts[0].axes[0].lines
    points = [line.get_xydata().tolist() for line in lines if line.get_marker() == "o"]  # type: ignore[union-attr]
    assert points == [[[310, 0.668]]]
    assert "vgg19-raw" in texts(charts[0])


def test_names_in_the_cost_chart_keep_clear_of_each_other(charts: list[Figure]) -> None:
    models = [f"model{i}" for i in range(6)]
    costs = [inference(model, 100) for model in models]
    results = [result(model, 0.66 + i / 1000) for i, model in enumerate(models)]
    figures.cost(report(results=results, costs=costs))
    heights = sorted(text.get_position()[1] for text in charts[0].axes[0].texts)
    assert min(np.diff(heights)) > 0.05


@pytest.mark.parametrize(
    "name",
    [
        "$\\frac{1}{",
        "a\nb",
        "<script>",
        "\u0001\u0002",
        "\u6f22\u5b57 \U0001f600",
        "\ud800",
        "W" * 500,
        "_" * 60,
        "%s{}",
    ],
)
def test_any_name_can_be_drawn_and_none_is_read_as_mathematics_or_markup(name: str) -> None:
    hostile = report(results=[result(name)], costs=[inference(name, 100)])
    for picture in (figures.cost(hostile), figures.leaderboard(hostile)):
        assert not [one for one in elements(picture) if one.tag.endswith("script")]


@pytest.mark.parametrize(
    "sections",
    [{}, {"results": [result(metrics={})], "costs": [cost()], "data": {"a/b": face_set(counts={})}}],
)
def test_where_there_is_nothing_to_draw_there_is_no_picture(sections: dict[str, Any]) -> None:
    assert figures.leaderboard(report(**sections)) is figures.cost(report(**sections)) is None


def test_of_hundreds_of_subjects_the_chart_shows_the_best(charts: list[Figure]) -> None:
    figures.leaderboard(report(results=[result(f"m{i}", i / 700) for i in range(600)]))
    assert {"m599-raw", "m560-raw", "fer2013/private_test, 40 of 600"} <= texts(charts[0])
    assert "m559-raw" not in texts(charts[0])
