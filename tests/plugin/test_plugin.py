"""The evals as a user runs them: `pytest evals` in a process of its own, on a small class folder and models
of known scores.
"""

import json
import os
import re

import numpy as np
import pytest
from bench import FACES


def test_the_life_of_a_baseline(bench):
    first = bench.run("--update-baselines")
    assert "NEW" in first.stdout
    recorded = (bench.folder / "baselines.json").read_bytes()
    page, report = (bench.folder / "reports" / "evals.html").read_text(), bench.report()
    assert "knowing" in page
    assert report["results"][0]["from_store"] is False
    assert report["results"][0]["n"] == FACES

    again = bench.run("--update-baselines")
    assert "PASS" in again.stdout
    assert (bench.folder / "baselines.json").read_bytes() == recorded
    assert bench.report()["results"][0]["from_store"] is True

    bench.write_model("worse.py", turned=30)
    worse = bench.run(model="worse.py", code=1)
    assert "> accuracy" in worse.stdout
    assert "faces were right and are wrong now, 0 the other way" in worse.stdout
    assert "Traceback" not in worse.stdout
    assert bench.report()["results"][0]["verdict"] == "FAIL"
    assert (bench.folder / "baselines.json").read_bytes() == recorded

    bench.write_model("other.py", turned=1)
    assert "PASS" in bench.run("--limit", 35, model="model.py").stdout


def test_stored_answers_are_judged_again_without_a_model(bench):
    first = bench.run("--cached-only")
    assert "1 of 1 shards are not in the store" in first.stdout
    assert not bench.report()["results"]
    bench.run("--update-baselines")
    again = bench.run("--cached-only", questions="accuracy or controls or cost")
    assert "PASS" in again.stdout
    assert "skipped" not in again.stdout
    assert bench.report()["results"][0]["from_store"] is True


def test_drift_stands_beside_the_verdict_and_fails_only_when_strict(bench):
    bench.run("--update-baselines")
    bench.write_model("doubting.py", body="pass", sure=0.5)
    calm = bench.run(model="doubting.py")
    assert "PASS, DEGRADED" in calm.stdout
    assert bench.report()["results"][0]["log_loss"]["found"] is True
    assert "DEGRADED" in (bench.folder / "reports" / "evals.html").read_text()
    strict = bench.run("--strict-gate", model="doubting.py", code=1)
    assert "the probability given to the true emotion fell, from 0.5" in strict.stdout


def test_the_faces_are_audited_and_scores_stand_beside_those_without_leaks(bench):
    for label in ("happy", "sad"):
        folder = bench.folder / "split" / "train" / label
        folder.mkdir(parents=True)
        for path in sorted((bench.folder / "faces" / label).iterdir())[:3]:
            (folder / path.name).write_bytes(path.read_bytes())
    (bench.folder / "faces").rename(bench.folder / "split" / "test")
    bench.run("--split", "test", faces="split", questions="accuracy")
    result = bench.report()["results"][0]
    assert result["leakage"]["faces"] == 6
    assert result["metrics"]["accuracy_without_leaks"]["n"] == FACES - 6
    page = (bench.folder / "reports" / "evals.html").read_text()
    assert "Leaks and label noise" in page
    done = bench.run_python(
        [
            "-m",
            "pytest",
            *[
                a if not a.startswith("(") else "data"
                for a in bench.command("--split", "test", faces="split")
            ],
        ],
        0,
    )
    assert "test_data.py" in done.stdout
    audit = bench.report()["data"]["split/test"]["audit"]
    assert [(o["earlier"], o["later"], o["exact_duplicates"]) for o in audit["overlaps"]] == [
        ("train", "test", 6)
    ]
    assert "example pairs" in (bench.folder / "reports" / "evals.html").read_text()


def test_strict_makes_new_fail_and_says_how_to_record(bench):
    done = bench.run("--strict-gate", code=1)
    assert "no baseline yet" in done.stdout
    assert "--update-baselines" in done.stdout


def test_two_processes_give_the_same_results_ask_once_and_share_the_cores(bench, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    statement = "import os; print(len(faces), os.environ.get('OMP_NUM_THREADS'), file=file)"
    bench.write_model(body=f"with open({str(bench.folder / 'batches')!r}, 'a') as file: {statement}")
    bench.run("-n", 2, questions="accuracy or recall or macro or plausible")
    several = bench.report()["results"]
    batches = [line.split() for line in (bench.folder / "batches").read_text().splitlines()]
    assert (
        sum(int(n) for n, _ in batches) == FACES + 2 * 64
    )  # each process predicts the sample that shows a changed model
    assert {threads for _, threads in batches} == {str(max(1, os.cpu_count() // 2))}
    (bench.folder / "store").rename(bench.folder / "old")
    bench.run(questions="accuracy or recall or macro or plausible")
    alone = bench.report()["results"]
    for result in (*several, *alone):
        result.pop("inference_seconds")
    assert several == alone


def test_a_model_whose_columns_are_in_another_order_is_found_out(bench):
    bench.write_model(
        body="LABELS.update({k: (v + 3) % 7 for k, v in LABELS.items()}) "
        "if 'done' not in globals() else None; globals()['done'] = 1"
    )
    done = bench.run(questions="plausible", code=1)
    assert "its columns are probably not in the declared order" in done.stdout


def test_a_model_that_breaks_its_contract_fails_in_one_line(bench):
    cases = {
        "is not a number": ("return Predictions.from_probabilities(np.full((len(faces), 7), np.nan))", ""),
        "must have shape": ("return Predictions.from_probabilities(np.ones((len(faces), 6)) / 6)", ""),
        "declares the label order": (
            "return Predictions.from_probabilities(np.ones((len(faces), 7)) / 7)",
            ", labels=['happy', 'sad']",
        ),
    }
    for i, (body, extra) in enumerate(cases.values()):
        bench.write_model(f"model{i}.py", body=body, extra=extra)
    outputs = bench.run_each(*(bench.command(model=f"model{i}.py") for i in range(len(cases))), code=1)
    for message, text in zip(cases, outputs, strict=True):
        assert message in text
        assert "Traceback" not in text
    assert not list((bench.folder / "store").rglob("*.parquet"))


def test_a_wrong_option_ends_with_code_4_and_one_line(bench):
    cases = {
        "give its folder": ["--dataset", "fer2013"],
        "nowhere": ["--dataset", "fer2013", "--data-root", "nowhere"],
        "Did you mean 'fer2013'": ["--dataset", "fer2014"],
        "Did you mean 'knowing'": ["--model", "knowin"],
        "--limit must be at least 1": ["--limit", "0"],
        "whole splits": ["--limit", "7", "--update-baselines"],
        "tset": ["--split", "tset"],
        "--batch-size must be at least 1": ["--batch-size", "0"],
    }
    outputs = bench.run_each(*(bench.command(*arguments) for arguments in cases.values()), code=4)
    for message, text in zip(cases, outputs, strict=True):
        errors = [line for line in text.splitlines() if line.startswith("ERROR")]
        assert len(errors) == 1, text
        assert message.lower() in errors[0].lower()


def test_spoilt_baselines_end_with_code_4_and_stay_as_they_are(bench):
    path = bench.folder / "baselines.json"
    path.write_text('{"schema": 2, "measured": [],}')
    done = bench.run("--update-baselines", code=4)
    assert "line 1, column" in done.stdout + done.stderr
    assert path.read_text() == '{"schema": 2, "measured": [],}'


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_a_damaged_shard_is_predicted_again_with_one_warning(bench, processes):
    bench.run(code=0)
    first = bench.report()["results"]
    shard = next((bench.folder / "store").rglob("*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    done = bench.run(*processes, code=0)
    assert (
        done.stdout.count(
            f"{shard.name} is damaged: its bytes do not have the checksum in its name. "
            "Its content is computed anew."
        )
        == 1
    )
    assert shard.read_bytes() == whole
    assert [r["metrics"] for r in bench.report()["results"]] == [r["metrics"] for r in first]


def test_a_damaged_shard_is_named_where_nothing_may_be_predicted(bench):
    bench.run(code=0)
    shard = next((bench.folder / "store").rglob("*.parquet"))
    shard.write_bytes(b"")
    done = bench.run("--cached-only", code=0)
    assert "1 of 1 shards are not in the store, or damaged" in done.stdout
    assert shard.read_bytes() == b""


def test_a_missing_model_is_skipped_with_its_command(bench):
    done = bench.run("--model", "clip-vit-b-32", questions="accuracy and clip")
    assert "fer-models weights fetch clip-vit-b-32" in done.stdout
    assert [s["model"] for s in bench.report()["skipped"]] == ["clip-vit-b-32"]
    assert "1 skipped" in done.stdout  # once, and not in every question


def test_a_missing_restoration_is_skipped_under_its_own_name(bench):
    done = bench.run("-k", "accuracy and gfpgan-1.3")
    assert "fer-models weights fetch gfpgan-1.3" in done.stdout
    assert [s["model"] for s in bench.report()["skipped"]] == ["gfpgan-1.3"]
    assert "1 skipped" in done.stdout


def test_the_readmes_own_model_works_as_it_stands(bench, repository):
    text = (repository / "README.md").read_text()
    code = text[text.index("```python") :].removeprefix("```python").split("```")[0]
    (bench.folder / "my_model.py").write_text(code)
    bench.run("--model", "brightness", model="my_model.py", questions="accuracy and brightness")
    result = bench.report()["results"][0]
    assert result["subject"]["model"] == "brightness"
    assert result["unanswered"] == 0
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_hostile_names_are_escaped_on_the_page(bench):
    hostile = "<img src=x onerror=alert(1)>"
    (bench.folder / "faces").rename(bench.folder / hostile)
    bench.run(faces=hostile)
    assert "<img src=x" not in (bench.folder / "reports" / "evals.html").read_text()


def test_costs_are_measured_and_left_for_the_page(bench):
    bench.run(questions="cost and (inference or evaluation or preprocessing)")
    costs = bench.report()["costs"]
    assert {c["phase"] for c in costs} >= {"evaluation"}
    assert all(c["seconds"] > 0 and np.isfinite(c["images_per_second"]) for c in costs)


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
    assert "example faces" in page
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


def test_corrupted_faces_are_subjects_of_their_own(bench):
    clean = bench.run("--update-baselines")
    spoilt = bench.run("--corruption", "low-light@4", "--update-baselines")
    assert "NEW" in spoilt.stdout
    (result,) = bench.report()["results"]
    assert result["subject"]["corruption"] == "low-light@4"
    assert result["metrics"]["accuracy"]["value"] < 0.5
    measured = json.loads((bench.folder / "baselines.json").read_text())["measured"]
    assert {r["corruption"] for r in measured} == {None, "low-light@4"}
    assert measured[0]["dataset_fingerprint"] == measured[1]["dataset_fingerprint"]
    assert "PASS" in bench.run().stdout
    assert "names: gaussian-noise" in bench.run("--corruption", "rain", code=4).stderr
    assert clean.returncode == 0


def test_the_second_run_predicts_nothing_whatever_it_evaluates(bench):
    """Accuracy, controls, metamorphic and corruption robustness and costs: all stored, but for the sample
    that shows a changed model.
    """
    log = bench.folder / "predicted"
    bench.write_model(body=f"with open({str(log)!r}, 'a') as file: print(len(faces), file=file)")

    def evaluate(*arguments, questions="accuracy or controls or metamorphic or corruption or cost"):
        command = bench.command(*arguments)
        command[command.index("-k") + 1] = f"({questions}) and knowing and not bicubic and not gfpgan"
        bench.run_python(["-m", "pytest", *command], 0)

    evaluate()
    first, costs = bench.report(), bench.report()["costs"]
    assert len(log.read_text().splitlines()) > 20
    log.write_text("")
    evaluate()
    assert log.read_text() == "64\n"
    again = bench.report()
    assert again["metamorphic"] == first["metamorphic"]
    assert again["corruptions"] == first["corruptions"]
    assert {c["seconds"] for c in again["costs"]} == {c["seconds"] for c in costs}
    assert all("measured_on" in c for c in again["costs"])
    evaluate("--measure-costs", questions="cost and inference")
    assert log.read_text()


def test_a_run_says_its_depth_first_and_what_it_left_out_last(bench):
    done = bench.run(questions="accuracy")
    assert "depth standard" in done.stdout.splitlines()[0]
    assert re.search(
        r"^depth standard: about \d+ \w+.* on this machine$", done.stdout, re.MULTILINE
    )  # how long decides no test
    assert "Depth standard left out:" in done.stdout
    assert "Everything: pytest evals --depth full" in done.stdout
    assert bench.report()["depth"]["name"] == "standard"
    assert "left out" in (bench.folder / "reports" / "evals.html").read_text()
    full = bench.run("--depth", "full", questions="accuracy")
    assert "left out" not in full.stdout
    assert bench.report()["depth"]["left_out"] == []


def test_a_restoration_is_predicted_on_few_faces_unless_it_is_recorded(bench):
    def evaluate(*arguments):
        command = bench.command("--restoration-limit", "14", *arguments)
        command[command.index("-k") + 1] = "(accuracy or effect) and bicubic"
        return bench.run_python(["-m", "pytest", *command], 0).stdout

    def numbers():
        return {r["subject"]["restoration"]: (r["n"], r["of"]) for r in bench.report()["results"]}

    text = evaluate()
    assert numbers() == {"bicubic": (14, FACES), "raw": (FACES, FACES)}
    assert "14 of 105 faces" in text
    (effect,) = bench.report()["restorations"]
    assert effect["n"] == 14
    evaluate("--update-baselines")
    assert numbers()["bicubic"] == (FACES, FACES)
    recorded = json.loads((bench.folder / "baselines.json").read_text())["measured"]
    assert {r["restoration"]: r["n"] for r in recorded} == {"bicubic": FACES, "raw": FACES}
    evaluate()
    assert {r["subject"]["restoration"]: r["verdict"] for r in bench.report()["results"]} == {
        "bicubic": "PASS",
        "raw": None,
    }


def test_a_quick_run_evaluates_the_fastest_models_and_ones_own_as_they_are(bench, repository):
    command = ["-m", "pytest", "evals", "-p", "no:cacheprovider", "--collect-only", "-q", "--depth", "quick"]
    done = bench.run_python([*command, "--model-file", str(bench.folder / "model.py")], 0)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    models = {name.partition("[")[2].removesuffix("]") for name in tests if "test_accuracy[" in name}
    assert models == {"efficientnet_b0-raw", "resnet50-raw", "clip-nano-raw", "knowing-raw"}
    assert not [name for name in tests if "cost" in name or "metamorphic" in name or "bicubic" in name]
    named = bench.run_python(
        [*command, "-k", "VGG and accuracy and not macro and not recall and not loss and not one_prediction"],
        0,
    )
    assert [line for line in named.stdout.splitlines() if "::" in line] == [
        "evals/test_accuracy.py::test_accuracy[vgg19-raw]"
    ]


OWN = """
def test_faces(faces, evaluation):
    assert len(faces)
"""


def test_a_suite_of_ones_own_ends_in_one_sentence_where_its_faces_cannot_be_read(bench):
    """Its tests are known after the collection only, in each worker of `-n` anew."""
    (bench.folder / "own").mkdir()
    (bench.folder / "own" / "test_own.py").write_text(OWN)
    (bench.folder / "faces" / "happy" / "broken.png").write_bytes(b"")
    common = [
        str(bench.folder / "own"),
        "-p",
        "fer_models.plugin",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(bench.folder / "own"),
    ]
    commands = [
        [*common, "--dataset", str(dataset), *workers]
        for dataset in (bench.folder / "faces", bench.folder / "gone")
        for workers in ([], ["-n", "2"])
    ]
    outputs = bench.run_each(*commands, code=4)
    for text, reason in zip(
        outputs, ["1 of 106 pictures cannot be read"] * 2 + ["No dataset or folder named"] * 2, strict=True
    ):
        assert text.count(reason) == 1
        assert "Traceback" not in text
        assert "INTERNALERROR" not in text
    report = json.loads((bench.folder / "own" / "reports" / "evals.json").read_text())
    assert "1 of 106 pictures cannot be read: happy/broken.png" in report["errors"][0]["message"]
