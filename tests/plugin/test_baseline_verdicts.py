"""Whole runs: verdicts on accuracy and log loss against recorded baselines."""

import json

import pytest
from bench import FACES


@pytest.mark.slow
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
    assert "faces were correct and are wrong now, 0 the other way" in worse.stdout
    assert "Traceback" not in worse.stdout
    assert bench.report()["results"][0]["verdict"] == "FAIL"
    assert (bench.folder / "baselines.json").read_bytes() == recorded

    bench.write_model("other.py", turned=1)
    assert "PASS" in bench.run("--limit", 35, model="model.py").stdout


@pytest.mark.slow
def test_stored_answers_are_judged_again_without_a_model(bench):
    first = bench.run("--cached-only")
    assert "1 of 1 shards are not in the store" in first.stdout
    assert not bench.report()["results"]
    bench.run("--update-baselines")
    again = bench.run("--cached-only", questions="accuracy or controls or cost")
    assert "PASS" in again.stdout
    assert "skipped" not in again.stdout
    assert bench.report()["results"][0]["from_store"] is True


@pytest.mark.slow
def test_drift_stands_beside_the_verdict_and_fails_only_when_strict(bench):
    bench.run("--update-baselines")
    bench.write_model("doubting.py", body="pass", sure=0.5)
    calm = bench.run(model="doubting.py")
    assert "PASS, DEGRADED" in calm.stdout
    assert bench.report()["results"][0]["log_loss"]["found"] is True
    page = (bench.folder / "reports" / "evals.html").read_text()
    assert 'PASS</span> <span class="verdict degraded">DEGRADED</span>' in page
    strict = bench.run("--strict-gate", model="doubting.py", code=1)
    assert "the probability given to the true emotion fell, from 0." in strict.stdout


def test_strict_makes_new_fail_and_says_how_to_record(bench):
    done = bench.run("--strict-gate", code=1)
    assert "no baseline yet" in done.stdout
    assert "--update-baselines" in done.stdout


@pytest.mark.slow
def test_corrupted_faces_are_subjects_of_their_own(bench):
    clean = bench.run("--update-baselines")
    corrupted = bench.run("--corruption", "low-light@4", "--update-baselines")
    assert "NEW" in corrupted.stdout
    (result,) = bench.report()["results"]
    assert result["subject"]["corruption"] == "low-light@4"
    assert result["metrics"]["accuracy"]["value"] < 0.5
    measured = json.loads((bench.folder / "baselines.json").read_text())["measured"]
    assert {r["corruption"] for r in measured} == {None, "low-light@4"}
    assert measured[0]["dataset_fingerprint"] == measured[1]["dataset_fingerprint"]
    assert "PASS" in bench.run().stdout
    assert "names: gaussian-noise" in bench.run("--corruption", "rain", code=4).stderr
    assert clean.returncode == 0
