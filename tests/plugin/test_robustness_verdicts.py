"""Whole runs: verdicts on robustness, and effects of restorations."""

import json
import re

import pytest

pytestmark = pytest.mark.slow

READER = """
import json
from dataclasses import replace
from pathlib import Path
import numpy as np
from fer_models import ModelSpec, Predictions
from fer_models.classifiers import prompts
from fer_models.images import face_hash

LABELS = json.loads(Path({labels!r}).read_text())

class Reading:
    def __init__(self, prompt_set):
        self.prompt_set = prompt_set

    def embed(self, faces):
        return np.eye(7, dtype=np.float32)[[LABELS.get(face_hash(face), 0) for face in faces]]

    def classify(self, features, prompt_set=None):
        templates = (prompt_set or self.prompt_set).templates
        weak = np.mean([{weak!r} in template for template in templates])
        turned = np.arange(len(features)) < weak * len(features)
        seen = np.where(turned[:, None], np.roll(features, 1, axis=1), features)
        return Predictions.from_probabilities(seen * 0.93 + 0.01)

    def predict(self, faces):
        return self.classify(self.embed(faces))

def spec(prompt_set):
    settings = {{"prompts": prompt_set.as_json()}}
    made = ModelSpec("reading", lambda runtime: Reading(prompt_set), settings=settings, has_embeddings=True)
    made = replace(made, prompt=prompt_set.name)
    return replace(made, with_prompts=spec)

MODELS = [spec(prompts.load("openai"))]
"""


def test_a_model_that_is_asked_in_words_is_held_to_what_its_words_did_before(bench):
    def evaluate(weak, *arguments, code=0):
        (bench.folder / "reader.py").write_text(
            READER.format(labels=str(bench.folder / "labels.json"), weak=weak)
        )
        command = bench.command(
            "--model", "reading", "--prompt-search-examples", "40", *arguments, model="reader.py"
        )
        command[command.index("-k") + 1] = "prompt_robustness"
        return bench.run_python(["-m", "pytest", *command], code).stdout

    first = evaluate("never said", "--update-baselines")
    assert "single templates 1.000 to 1.000" in first
    recorded = json.loads((bench.folder / "baselines.json").read_text())["measured"][0]
    assert recorded["prompt"] == "openai"
    assert recorded["metrics"]["prompts: accuracy of the worst template"] == 1.0
    assert "5 passed" in evaluate("never said")
    worse = evaluate("look at how", code=1)
    assert "robustness got worse than its baseline by 2 points or more." in worse
    assert re.search(r"> prompts: accuracy of the worst template +105 +0.000 +1.000 +-1.000", worse)
    assert (
        "FAIL reading-raw \u00b7 openai, prompts: accuracy of the worst template: 1.000 -> 0.000, p < 0.0001"
        in worse
    )
    assert "Traceback" not in worse
    (entry,) = bench.report()["prompts"]
    assert entry["sensitivity"]["worst"] == 0.0
    assert entry["fails"] is True
    verdicts = {figure["name"]: figure["verdict"] for figure in entry["figures"]}
    assert verdicts["prompts: accuracy of the worst template"] == "FAIL"
    assert verdicts["prompts: flip rate, order of the list"] == "PASS"
    assert "look at how" in (bench.folder / "reports" / "evals.html").read_text()
    plain = evaluate("never said", "--prompts", "plain", "--update-baselines")
    assert "reading-raw \u00b7 plain" in plain
    assert len(json.loads((bench.folder / "baselines.json").read_text())["measured"]) == 2


CHANGING = """
from fer_models import RestorerSpec

class Darker:
    def restore(self, faces):
        return [face // 2 for face in faces]

RESTORERS = [RestorerSpec("darker", lambda runtime: Darker())]
"""


def test_what_restorations_and_small_changes_do_is_measured_told_and_recorded(bench):
    """`knowing` knows faces by their pixels alone, so whatever changes one leaves it with the answer
    angry.
    """
    with (bench.folder / "model.py").open("a") as file:
        file.write(CHANGING)

    def evaluate(questions, *arguments, code=0):
        command = bench.command("--metamorphic-limit", "14", *arguments)
        command[command.index("-k") + 1] = questions
        return bench.run_python(["-m", "pytest", *command], code).stdout

    output = evaluate("(test_restoration and darker) or metamorphic", "--update-baselines")
    assert "darker against raw, knowing: harms (" in output
    report = bench.report()
    (effect,) = report["restorations"]
    assert (effect["verdict"], effect["corrected"] > effect["broken"]) == ("harms", False)
    assert effect["fidelity"] > 0.9
    assert effect["per_class"]["happy"]["after"] == 0.0
    assert len(effect["faces"]["broken"]) == 4
    (changes,) = report["metamorphic"]
    assert changes["flip_rate"]["mirror image"] > 0.5
    page = (bench.folder / "reports" / "evals.html").read_text()
    assert "Metamorphic robustness" in page
    assert "faces before and after" in page
    recorded = json.loads((bench.folder / "baselines.json").read_text())["measured"]
    raw = next(r for r in recorded if r["restoration"] == "raw")
    assert raw["metrics"]["metamorphic: flip rate, mirror image (14 faces)"] == pytest.approx(
        changes["flip_rate"]["mirror image"], abs=1e-6
    )
    assert "passed" in evaluate("metamorphic")


PAIR = """
import json
from pathlib import Path
import numpy as np
from fer_models import ModelSpec, Predictions
from fer_models.images import face_hash

LABELS = json.loads(Path({labels!r}).read_text())

class Model:
    def __init__(self, name):
        self.name = name

    def predict(self, faces):
        changed = Path({flag!r}).exists()
        if self.name == "broken" and changed and any(face_hash(face) not in LABELS for face in faces):
            raise ValueError("the server is gone")
        noisy = self.name == "noisy" and changed
        answers = [int(face[:, 20:].astype(int).sum()) % 7 if noisy else 3 for face in faces]
        return Predictions.from_probabilities(np.eye(7)[answers] * 0.93 + 0.01)

def spec(name):
    return ModelSpec(name, lambda runtime: Model(name), settings={{"version": Path({flag!r}).exists()}})

MODELS = [spec("calm"), spec("noisy"), spec("broken")]
"""


def test_all_robustness_figures_of_a_run_are_judged_together_and_a_failing_model_breaks_no_others(bench):
    """`noisy` predicts at random once the flag is there, and `broken` raises for all but the faces as they
    are.
    """
    flag, labels = bench.folder / "flag", bench.folder / "labels.json"
    (bench.folder / "pair.py").write_text(PAIR.format(flag=str(flag), labels=str(labels)))
    names = [argument for name in ("calm", "noisy", "broken") for argument in ("--model", name)]

    def evaluate(*arguments, code=0, questions="metamorphic or (corruption and raw)"):
        command = bench.command(*names, "--depth", "full", *arguments, model="pair.py")
        command[command.index("-k") + 1] = questions
        return bench.run_python(["-m", "pytest", *command], code).stdout

    def verdicts():
        entries = [entry for section in ("metamorphic", "corruptions") for entry in bench.report()[section]]
        return {
            (entry["id"], figure["name"]): (figure["verdict"], figure["p"])
            for entry in entries
            for figure in entry["figures"]
        }

    def of_model(verdicts, name):
        return {status for (subject, _), (status, _) in verdicts.items() if subject.startswith(name)}

    assert "robustness: 18 NEW of 18 figures" in evaluate("--update-baselines")
    assert "robustness: 18 PASS of 18 figures" in evaluate()
    flag.touch()
    output = evaluate(code=1)
    alone = verdicts()
    assert of_model(alone, "noisy") == {
        "FAIL",
        "PASS",
    }  # a random answer is right as often as always the same one
    assert of_model(alone, "calm") == {"PASS"}
    assert of_model(alone, "broken") == set()
    assert "the server is gone" in output
    assert "Traceback" not in output
    assert any("metamorphic of broken" in error["subject"] for error in bench.report()["errors"])
    evaluate("-n", "2", code=1)
    assert verdicts() == alone
    one = evaluate(code=1, questions="mirror and noisy")
    assert "> metamorphic: flip rate, mirror image" in one
    few = {name: p for name, (_, p) in verdicts().items()}
    assert all(p <= alone[name][1] for name, p in few.items())  # a smaller family


def test_what_few_faces_cannot_establish_fails_only_when_strict_and_a_part_of_the_faces_is_new(bench):
    flag, labels = bench.folder / "flag", bench.folder / "labels.json"
    (bench.folder / "pair.py").write_text(PAIR.format(flag=str(flag), labels=str(labels)))

    def evaluate(*arguments, code=0):
        command = bench.command("--model", "noisy", *arguments, model="pair.py")
        command[command.index("-k") + 1] = "metamorphic"
        return bench.run_python(["-m", "pytest", *command], code).stdout

    evaluate("--update-baselines")
    flag.touch()
    assert "INCONCLUSIVE" in evaluate()
    assert "7 faces cannot establish a change" in evaluate("--strict-gate", code=1)
    assert "cannot establish a change" in (bench.folder / "reports" / "evals.html").read_text()
    assert "robustness: 5 NEW of 5 figures" in evaluate("--limit", "14", "--metamorphic-limit", "9")


def test_a_record_without_counts_per_face_is_refused_until_it_is_recorded_again(bench):
    def evaluate(*arguments, code=0):
        command = bench.command(*arguments)
        command[command.index("-k") + 1] = "mirror"
        return bench.run_python(["-m", "pytest", *command], code).stdout

    evaluate("--update-baselines")
    path = bench.folder / "baselines.json"
    recorded = path.read_text()
    data = json.loads(recorded)
    del data["measured"][0]["face_counts"]
    path.write_text(json.dumps(data))
    output = evaluate(code=1)
    assert "has no counts per face" in output
    assert "--update-baselines" in output
    evaluate("--update-baselines", code=1)
    assert json.loads(path.read_text()) == json.loads(recorded)
    evaluate()
