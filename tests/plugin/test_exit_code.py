"""What the page calls failed ends the run with an error, and a record that is not judged is no pass."""

import json

import pytest

from fer_models.config import EvalConfig
from fer_models.evaluation import Combination, Evaluation, Requested
from fer_models.zoo.registry import Registry, from_file
from fer_models.zoo.restorers import RESTORERS


def select(command, keyword):
    command[command.index("-k") + 1] = keyword
    return command


@pytest.fixture
def evaluate(bench):
    """Run the tests that a `-k` expression selects; the output, the verdicts by restoration, and the
    errors.
    """

    def run(keyword, *arguments, code=0, **options):
        text = bench.run_python(
            ["-m", "pytest", *select(bench.command(*arguments, **options), keyword)], code
        ).stdout
        report = bench.report()
        assert "Traceback" not in text
        return (
            text,
            {r["subject"]["restoration"]: r["verdict"] for r in report["results"]},
            {e["subject"]: e["message"] for e in report["errors"]},
        )

    return run


#: A restorer that doubles the side of a face; the model knows these faces too, unless it is told to forget
#: them.
DOUBLING = """
from fer_models import RestorerSpec

class Doubling:
    def restore(self, faces):
        return [face.repeat(2, 0).repeat(2, 1) for face in faces]

RESTORERS = [RestorerSpec("bicubic", load=lambda runtime: Doubling())]
"""


def write_model(bench, large):
    bench.write_model()
    path = bench.folder / "model.py"
    text = path.read_text().replace(
        "name = face_hash(face)", "side = face.shape[0] // 48; name = face_hash(face[::side, ::side].copy())"
    )
    path.write_text(
        text.replace("truth = LABELS.get(name, 0)", f"truth = LABELS[name] if side == 1 else {large}")
        + DOUBLING
    )


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_a_restoration_whose_accuracy_collapsed_fails_the_run_whichever_of_its_tests_is_selected(
    bench, evaluate, processes
):
    write_model(bench, "LABELS[name]")
    evaluate("(accuracy or restor) and (raw or bicubic)", "--update-baselines")
    write_model(bench, "6 - LABELS[name]")
    text, verdicts, _ = evaluate("(accuracy and raw) or (restor and bicubic)", *processes, code=1)
    assert verdicts == {"raw": "PASS", "bicubic": "FAIL"}
    assert "failed, although no selected test asserts it: knowing-bicubic on faces" in text
    assert "left out of this run" not in text


@pytest.mark.slow
def test_a_fall_of_accuracy_fails_a_run_of_the_drift_test_alone(bench, evaluate):
    evaluate("accuracy and raw", "--update-baselines")
    bench.write_model(turned=30)
    text, verdicts, _ = evaluate("log_loss and raw", code=1)
    assert verdicts == {"raw": "FAIL"}
    assert "failed, although no selected test asserts it: knowing-raw on faces" in text
    assert "> accuracy" in text


@pytest.mark.slow
def test_a_restoration_that_is_only_the_control_of_another_gets_no_verdict(evaluate):
    evaluate("accuracy and (raw or bicubic)", "--update-baselines")
    _, verdicts, _ = evaluate("restor and bicubic")
    assert verdicts == {"bicubic": "PASS", "raw": None}


@pytest.mark.slow
def test_a_verdict_is_the_same_in_the_test_and_on_the_page_whatever_is_predicted_later(bench, evaluate):
    """A borderline fall: significant alone, and not among several comparisons. It is judged once."""
    evaluate("(accuracy or plausible) and (raw or bicubic)", "--update-baselines")
    for turned in (9, 10, 11):
        bench.write_model(turned=turned)
        for keyword in ("(plausible and raw) or (accuracy and bicubic)", "accuracy and raw"):
            command = select(bench.command(), keyword)
            done = bench.start(["-m", "pytest", *command])
            verdicts = {r["verdict"] for r in bench.report()["results"]}
            assert (done.returncode == 1) == ("FAIL" in verdicts), done.stdout


# -- records that are not judged ------------------------------------------------------------------


def record(bench, **changes):
    """Change the only record of the bench."""
    path = bench.folder / "baselines.json"
    content = json.loads(path.read_text())
    content["measured"][0].update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "emtion"}, "with the prompt 'emtion', while this run has None"),
        ({"split": "al"}, "with the split 'al', while this run has 'all'"),
        ({"dataset": "face"}, "with the dataset 'face', while this run has 'faces'"),
        (
            {"dataset": "face", "prompt": "x"},
            "with the dataset 'face', while this run has 'faces' and prompt 'x'",
        ),
    ],
    ids=["prompt", "split", "dataset", "two fields"],
)
def test_a_mistyped_field_of_a_record_fails(bench, evaluate, changes, message):
    evaluate("accuracy and raw", "--update-baselines")
    record(bench, **changes)
    text, _, errors = evaluate("accuracy and raw", code=1)
    assert message in "".join(errors.values())
    assert "error:" in text


def test_a_mistyped_corruption_of_a_record_is_refused_at_once(bench, evaluate):
    evaluate("accuracy and raw", "--update-baselines")
    record(bench, corruption="gausian-noise@4")
    done = bench.run(code=4)
    assert "Did you mean 'gaussian-noise'" in done.stdout + done.stderr


def test_a_record_whose_model_lost_its_weights_fails_and_says_how_to_get_them(bench, evaluate):
    weights = bench.folder / "weights"
    weights.write_text("some")
    path = f"Path({str(weights)!r})"
    extra = f", weights=Weights(lambda: {path} if {path}.exists() else None, 'make it')"
    bench.write_model(extra=extra)
    text = "from fer_models.zoo.spec import Weights\n" + (bench.folder / "model.py").read_text()
    (bench.folder / "model.py").write_text(text)
    evaluate("accuracy and raw", "--update-baselines")
    weights.unlink()
    _, _, errors = evaluate("accuracy and raw", code=1)
    assert "was not evaluated" in "".join(errors.values())
    assert "make it" in "".join(errors.values())


def test_a_record_of_an_unknown_model_or_restoration_fails_unless_the_user_left_something_out(bench):
    bench.run("--update-baselines")
    path = bench.folder / "baselines.json"
    content = json.loads(path.read_text())
    others = [{"model": "gone"}, {"restoration": "gone"}, {"model": "hf:someone/else"}]
    content["measured"] += [{**content["measured"][0], **other} for other in others]
    path.write_text(json.dumps(content))
    models, _ = from_file(bench.folder / "model.py")
    options = EvalConfig(dataset=str(bench.folder / "faces"), store=bench.folder / "store", baselines=path)
    evaluation = Evaluation(options, Registry("model", *models), RESTORERS)
    combination = Combination("knowing", "raw")
    elsewhere = "hf:someone/else-raw on faces/all"  # a run has it only where the user names it
    gone = {"gone-raw on faces/all", "knowing-gone on faces/all"}
    for complete, is_everything, names in (
        (["raw"], True, gone),
        (["raw"], False, {"gone-raw on faces/all"}),  # such as `-k raw`: every model without restoration
        ([], False, set()),
    ):
        requested = Requested(frozenset([combination]), frozenset(complete), is_everything)
        evaluation.select([combination], requested)
        assert set(evaluation.coverage.unjudged()) == names
        assert set(evaluation.coverage.left_out([combination])) == {elsewhere, *gone} - names
    evaluation.select([combination])
    assert not evaluation.coverage.unjudged()


@pytest.mark.slow
def test_a_record_that_the_user_left_out_is_named_and_fails_nothing(bench, evaluate):
    evaluate("accuracy and (raw or bicubic)", "--update-baselines")
    text, verdicts, errors = evaluate("accuracy and raw")
    assert verdicts == {"raw": "PASS"}
    assert not errors
    assert "left out of this run by -k, --model or --depth: 1 (knowing-bicubic on faces/all)" in text
    assert bench.report()["not_judged"] == ["knowing-bicubic on faces/all"]


def test_baselines_that_do_not_exist_are_refused_where_they_were_named(bench):
    done = bench.run("--baselines", bench.folder / "baselinse.json", code=4)
    assert "no such file" in done.stdout + done.stderr
    assert not (bench.folder / "baselinse.json").exists()


@pytest.mark.slow
def test_predictions_that_no_test_judges_do_not_replace_a_record(bench, evaluate):
    """Such as the control of a restoration, or the faces before a corruption."""
    evaluate("accuracy and raw", "--update-baselines")
    path = bench.folder / "baselines.json"
    before = json.loads(path.read_text())["measured"][0]
    bench.write_model(turned=30)
    _, verdicts, _ = evaluate("corruption", "--update-baselines")
    assert verdicts == {"raw": None}
    after = json.loads(path.read_text())["measured"][0]
    assert {key: after[key] for key in ("answers", "p_true", "floor")} == {
        key: before[key] for key in ("answers", "p_true", "floor")
    }
    assert after["metrics"]["accuracy"] == before["metrics"]["accuracy"]
    assert any(name.startswith("corruptions: ") for name in after["metrics"])
    _, verdicts, _ = evaluate("accuracy and raw", code=1)
    assert verdicts == {"raw": "FAIL"}
