"""The worst slices on the page, in the terminal and in Markdown."""

from eval_reports import content, result, score
from markup import tables_in

from fer_models.report.eval_report import EvalReport
from fer_models.report.html_report import page_html
from fer_models.report.markdown import markdown
from fer_models.report.worst_slices import slice_lines, worst_slices

HOSTILE = "<img src=x onerror=alert(1)>"


def one_slice(name, accuracy, n=900, is_judged=True, **changed):
    fields = {
        "name": name,
        "range": "",
        "n": n,
        "is_judged": is_judged,
        "accuracy": score(accuracy),
        "macro_f1": score(accuracy),
        "recalls": {"happy": {**score(accuracy), "n": 10}},
        "ece": None,
    }
    return {**fields, **changed}


def column(name="brightness", worst=0.6, best=0.7, p=0.001, names=("dark", "bright")):
    gap = {
        "best": names[1],
        "worst": names[0],
        "difference": score(best - worst),
        "ratio": worst / best,
        "p": p,
    }
    slices = [one_slice(names[0], worst), one_slice(names[1], best)]
    return {"column": name, "source": "pixels", "without_value": 0, "slices": slices, "gap": gap}


def report(*results):
    return EvalReport.from_json(content(results=list(results)))


def test_gaps_are_listed_by_model_and_size():
    made = report(
        result("vgg19", 0.7, slices=[column("contrast", 0.68, 0.7), column("brightness", 0.6, 0.7)]),
        result("resnet50", 0.6, slices=[column("agreement", 0.5, 0.8, p=0.4)]),
    )
    rows = worst_slices(made)
    assert [(row.result.subject.model, row.column.column) for row in rows] == [
        ("vgg19", "brightness"),
        ("vgg19", "contrast"),
        ("resnet50", "agreement"),
    ]
    assert [row.is_shown for row in rows] == [True, True, False]
    (line,) = slice_lines(made)
    assert line.startswith("vgg19-raw: worst slice is brightness = dark, 0.600 against 0.700 in bright")


def test_markdown_and_page_show_only_significant_gaps():
    made = report(result(slices=[column(), column("contrast", p=0.3)]))
    (rows,) = [table for table in tables_in(markdown(made)) if "worst slice" in table[0]]
    assert [row[1] for row in rows[1:]] == ["brightness"]
    page = page_html(made)
    assert "In 1 of 2 cases, no gap between the slices" in page
    assert "dark, 900 faces" in page


def test_a_column_without_a_gap_is_shown_with_its_subject_only():
    alone = {**column(), "gap": None}
    alone["slices"][0]["is_judged"] = False
    made = report(result(slices=[alone]))
    assert worst_slices(made) == []
    page = page_html(made)
    assert 'id="slices"' not in page
    assert "not judged: few faces" in page


def test_a_failed_slice_is_named_on_the_first_screen_and_among_the_regressions():
    failing = {
        "accuracy": {"change": -0.004, "p": 0.4, "failed": False},
        "recall:fear": {"change": -0.09, "p": 0.02, "failed": False},
        "slice:brightness=dark": {"change": -0.08, "p": 0.0001, "failed": True},
        "faces": {
            "negative_flips": 90,
            "positive_flips": 76,
            "minimum_detectable_fall": 0.01,
            "required_sample_size": None,
        },
    }
    page = page_html(
        report(result(verdict="FAIL", fails=True, message="fell", changes=failing, slices=[column()]))
    )
    assert "brightness=dark: 0.680 → 0.600" in page
    assert "Accuracy in brightness = dark by vgg19-raw" in page
    assert '<th scope="row">&gt; accuracy in brightness = dark</th>' in page


def test_names_from_outside_are_escaped_everywhere():
    made = report(result(slices=[column(HOSTILE, names=(HOSTILE, "=cmd()|x"))]))
    assert "<img" not in page_html(made)
    assert "<img" not in markdown(made).replace("`" + HOSTILE, "")
    assert "=cmd()" in slice_lines(made)[0]
