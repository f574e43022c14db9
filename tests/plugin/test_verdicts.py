"""One judgement per run: exit code, terminal, page and evals.json agree, whatever the user selects."""

import json

import pytest
from bench import SEVERAL_CODES, make_bench
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fer_models.report.html_report import page_html
from fer_models.report.report_file import read_report

pytestmark = pytest.mark.slow

#: Models that know faces by their pixels. On some faces of each (`WRONG`) they are wrong since the record.
MODELS = """
import json
from pathlib import Path
import numpy as np
from fer_models import ModelSpec, Predictions, RestorerSpec
from fer_models.images import face_hash

LABELS = json.loads(Path({labels!r}).read_text())
RANK = {{name: i for i, name in enumerate(sorted(LABELS))}}
WRONG = {wrong!r}

class Knowing:
    def __init__(self, wrong):
        self.wrong = wrong

    def predict(self, faces):
        if self.wrong is None:
            raise RuntimeError("the server is gone")
        rows = np.full((len(faces), 7), 0.05)
        for row, face in zip(rows, faces):
            side = max(1, face.shape[0] // 48)
            name = face_hash(face[::side, ::side].copy())
            row[(LABELS.get(name, 0) + (RANK.get(name, 999) < self.wrong)) % 7] = 0.7
        return Predictions.from_probabilities(rows)

class Doubling:
    def restore(self, faces):
        return [face.repeat(2, 0).repeat(2, 1) for face in faces]

MODELS = [ModelSpec(name, load=lambda runtime, n=n: Knowing(n)) for name, n in WRONG.items()]
RESTORERS = [RestorerSpec("bicubic", load=lambda runtime: Doubling())]
"""
#: Nothing changed; regressed; a regression that is significant in small families only; a model that fails.
NAMES = ("steady", "regressed", "borderline", "failing")
#: Words of tests whose outcome is that of a verdict.
TESTS = ("accuracy", "macro_f1", "recall", "log_loss", "one_prediction", "restor", "mirror", "baseline")
WORDS = st.sampled_from((*TESTS, *NAMES[:3]))


def negated(word):
    return st.sampled_from((word, f"not {word}"))


def joined(children):
    return st.builds("({} {} {})".format, children, st.sampled_from(("and", "or")), children)


EXPRESSIONS = st.recursive(WORDS.flatmap(negated), joined, max_leaves=4)
#: The models and restorations of a run: others are not of this bench.
SELECTIONS = st.builds(
    "({}) and ({}) and ({})".format,
    EXPRESSIONS,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(" or ".join),
    st.sampled_from(("raw", "bicubic", "raw or bicubic")),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, repository):
    """A bench with a record of each model, most of which have changed since."""
    bench = make_bench(tmp_path_factory.mktemp("verdicts"), repository)
    write_models(bench, dict.fromkeys(NAMES, 0))
    bench.run_python(
        ["-m", "pytest", *command(bench, "accuracy or mirror", "first", "--update-baselines")], 0
    )
    write_models(bench, {"steady": 0, "regressed": 30, "borderline": 9, "failing": None})
    return bench


def write_models(bench, wrong):
    text = MODELS.format(labels=str(bench.folder / "labels.json"), wrong=wrong)
    (bench.folder / "model.py").write_text(text)


def command(bench, keyword, report, *arguments):
    names = [argument for name in NAMES for argument in ("--model", name)]
    base = bench.command(*names, "--report-dir", bench.folder / report, *arguments)
    evals = ("test_accuracy", "test_restoration", "test_metamorphic")
    tests = " or ".join(evals)
    base[base.index("-k") + 1] = f"({keyword}) and ({tests}) and (raw or bicubic or baseline)"
    return base


def run_all(bench, commands):
    """Exit code and output of each command, in one process."""
    (bench.folder / "runs.py").write_text(SEVERAL_CODES.format(commands=commands))
    text = bench.run_python([str(bench.folder / "runs.py")], 0).stdout
    outputs = text.split("=-=-=")[1:]
    return [(int(output.rpartition("ended with ")[2]), output) for output in outputs]


def verdicts_of(report):
    """The verdicts of each family, by member."""
    accuracy = {r["id"]: r["verdict"] for r in report["results"] if r["verdict"] is not None}
    figures = {
        (entry["id"], figure["name"]): figure["verdict"]
        for entry in report["metamorphic"]
        for figure in entry["figures"]
    }
    return accuracy, figures


def assert_agreement(bench, code, output, report_dir):
    """The exit code, the terminal and the page say what evals.json says."""
    assert "Traceback" not in output
    path = bench.folder / report_dir / "evals.json"
    if code == 5:  # no test is selected
        assert not path.exists()
        return None
    report = json.loads(path.read_text())
    entries = [*report["results"], *report["metamorphic"]]
    failing = [entry for entry in entries if entry["fails"]]
    assert code == (1 if failing or report["errors"] else 0), output
    for result in report["results"]:
        assert result["fails"] == (result["verdict"] in ("FAIL", "ERROR"))
    for entry in report["metamorphic"]:
        assert entry["fails"] == any(figure["verdict"] == "FAIL" for figure in entry["figures"])
    for message in (*(entry["message"] for entry in failing), *(e["message"] for e in report["errors"])):
        assert message.splitlines()[0] in output
    if report["results"] or report["skipped"]:
        pages = (page_html(read_report(path)), (path.parent / "evals.html").read_text())
        alone, whole = (page.split("<main>")[1].split("</main>")[0] for page in pages)
        assert alone == whole
    return report


@given(st.lists(SELECTIONS, min_size=6, max_size=6, unique=True), st.integers(0, 5))
@settings(
    max_examples=1,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_what_a_run_says_is_the_same_everywhere_whatever_is_selected(bench, selections, parallel):
    fixed = [
        "accuracy and raw",
        "restor and bicubic",
        "accuracy and borderline and raw",
        "accuracy or mirror",
    ]
    selections = [*fixed, *selections]
    commands = [command(bench, keyword, f"report{i}") for i, keyword in enumerate(selections)]
    for i in (3, len(fixed) + parallel):  # the same again, in two processes
        commands.append(command(bench, selections[i], f"report{len(commands)}", "-n", "2"))
    families, not_judged = {}, {}
    sources = [*range(len(selections)), 3, len(fixed) + parallel]
    for i, (code, output) in enumerate(run_all(bench, commands)):
        report = assert_agreement(bench, code, output, f"report{i}")
        left_out = None if report is None else report["not_judged"]
        assert not_judged.setdefault(sources[i], left_out) == left_out
        for verdicts in () if report is None else verdicts_of(report):
            assert families.setdefault(frozenset(verdicts), verdicts) == verdicts
    statuses = {status for verdicts in families.values() for status in verdicts.values()}
    assert {"PASS", "FAIL"} <= statuses
