"""The figures of each subject, on axes that the page has once."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from eval_reports import SCORE, report, result, selective
from matplotlib.figure import Figure

from fer_models.report import svg
from fer_models.report.html_report import page_html
from fer_models.report.report_entries import Result
from fer_models.report.subject_figures import SubjectFigures
from fer_models.report.svg import Picture

BINS = [{"lower": 0.6, "upper": 0.66, "n": 9, "confidence": 0.63, "accuracy": SCORE}]


def results() -> list[Result]:
    """Two subjects, of which the second one is wrong twice as often."""
    curve = selective()["curve"]
    risks = ("by_probability", "by_margin", "best")
    worse = [{**point, **{name: 2 * point[name] for name in risks}} for point in curve]
    entries = [
        result("good", selective=selective(), reliability=BINS),
        result("bad", selective=selective(curve=worse), reliability=BINS),
    ]
    return list(report(results=entries).results)


@pytest.fixture
def drawn_lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The visible lines of each figure that a test draws, by their labels."""
    figures, draw = [], svg.to_picture

    def noted(figure: Figure, description: str) -> Picture:
        lines = [line for line in figure.axes[0].lines if line.get_visible()]
        figures.append({line.get_label(): np.asarray(line.get_ydata()).tolist() for line in lines})
        return draw(figure, description)

    monkeypatch.setattr(svg, "to_picture", noted)
    return figures


def test_a_figure_has_the_curves_of_its_own_subject_only(drawn_lines: list[dict[str, Any]]) -> None:
    good, bad = results()
    figures = SubjectFigures([good, bad])
    for one in (good, bad):
        figures.risk_coverage(one)
    lines = {"best": [0.5 / 9, 1 / 9], "margin": [0.25, 0.5], "probability": [0.5 / 3, 1 / 3]}
    assert [list(figure.values()) for figure in drawn_lines] == [
        list(lines.values()),
        [[2 * risk for risk in risks] for risks in lines.values()],
    ]


def ends_of_lines(picture: Picture | None) -> list[float]:
    """The height of the last point of each line without an area."""
    assert picture is not None
    paths = [path for path in ElementTree.fromstring(picture.svg).iter() if path.tag.endswith("path")]
    lines = [path for path in paths if "stroke:" in path.get("style", "")]
    return [float(re.findall(r"L \S+ (\S+)", path.get("d", ""))[-1]) for path in lines]


def test_figures_of_several_subjects_have_the_same_scale() -> None:
    good, bad = results()
    figures = SubjectFigures([good, bad])
    one, other = (ends_of_lines(figures.risk_coverage(subject)) for subject in (good, bad))
    # Of the good one the curve by margin ends at 0.5, of the bad one at 1: one zero, so twice the height.
    zero = 2 * one[1] - other[1]
    assert [zero - end for end in other] == pytest.approx([2 * (zero - end) for end in one], abs=1e-3)


def test_the_page_has_the_axes_once_and_each_figure_refers_to_them() -> None:
    entries = [result("a", selective=selective(), reliability=BINS), result("b", selective=selective())]
    page = page_html(report(results=entries))
    for name, figures in (("axes-reliability", 1), ("axes-risk-coverage", 2)):
        assert page.count(f'<symbol id="{name}"') == 1
        assert page.count(f'<use href="#{name}"/>') == figures
    assert page.count(">by margin</text>") == 1


def test_axes_without_a_figure_are_not_in_the_page() -> None:
    page = page_html(report(results=[result("a", reliability=BINS)]))
    assert "axes-reliability" in page
    assert "axes-risk-coverage" not in page
    assert not SubjectFigures([]).definitions


def test_axes_and_figures_are_valid_and_in_the_colours_of_the_page() -> None:
    (one, _), figures = results(), SubjectFigures(results())
    reliability = figures.reliability(one)
    assert reliability is not None
    for text in (f"<div>{figures.definitions}</div>", reliability.svg):
        assert len(list(ElementTree.fromstring(text).iter())) > 3
        colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", text))
        assert colours
        assert all(colour == "none" or colour.startswith("var(--") for colour in colours)
