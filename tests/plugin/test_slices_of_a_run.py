"""Whole runs: slices from pixels and from a file, and a fall in one of them."""

import csv

import pytest
from bench import FACES, write_faces


def write_metadata(bench, name="people.csv", sexes=("f", "m")):
    faces = write_faces(bench.folder / "again", FACES)
    with (bench.folder / name).open("w", newline="") as file:
        rows = [(h, sexes[i % len(sexes)]) for i, h in enumerate(faces.hashes)]
        csv.writer(file).writerows([("hash", "sex"), *rows])
    return faces


def columns(result):
    return {column["column"]: column for column in result["slices"]}


@pytest.mark.slow
def test_a_run_scores_slices_from_pixels_and_from_a_file(bench):
    write_metadata(bench)
    options = (
        "--slices",
        bench.folder / "people.csv",
        "--cross-slices",
        "brightness,sex",
        "--min-slice",
        "20",
    )
    bench.run(*options, "--update-baselines")
    bench.run(*options)
    report = bench.report()
    (result,) = report["results"]
    assert columns(result).keys() == {"brightness", "contrast", "sharpness", "sex", "brightness x sex"}
    sex = columns(result)["sex"]
    assert {one["name"]: one["n"] for one in sex["slices"]} == {"f": 53, "m": 52}
    assert sex["source"] == "people.csv"
    assert len(columns(result)["brightness x sex"]["slices"]) == 8
    assert {"slice:sex=f", "slice:sex=m"} < result["changes"].keys()
    page = (bench.folder / "reports" / "evals.html").read_text()
    assert "brightness x sex" in page


@pytest.mark.slow
def test_a_model_that_is_worse_on_some_people_fails_by_their_slice(bench):
    faces = write_metadata(bench)
    women = sorted(h for i, h in enumerate(faces.hashes) if i % 2 == 0)[:45]
    options = ("--slices", bench.folder / "people.csv")
    bench.run(*options, "--update-baselines")
    text = (bench.folder / "model.py").read_text()
    changed = text.replace("wrong = int", f"wrong = name in {women!r} or int")
    assert changed != text
    (bench.folder / "model.py").write_text(changed)
    done = bench.run(*options, code=1)
    assert "accuracy in sex = f" in done.stdout
    (result,) = bench.report()["results"]
    assert result["changes"]["slice:sex=f"]["failed"]
    assert not result["changes"]["slice:sex=m"]["failed"]


def test_a_file_that_does_not_fit_the_faces_ends_the_run_with_a_sentence(bench):
    (bench.folder / "other.csv").write_text("file,sex\nnobody.png,f\n")
    done = bench.run("--slices", bench.folder / "other.csv", code=4)
    assert "has a row for 0 of the 105 faces" in done.stdout + done.stderr
    done = bench.run("--cross-slices", "brightness,age", code=4)
    assert "there is no column 'age'. There are: brightness, contrast" in done.stdout + done.stderr
    done = bench.run(*["--cross-slices", "brightness,contrast"] * 2, code=4)
    assert "--cross-slices has two columns twice" in done.stdout + done.stderr
    done = bench.run("--slice-cuts", "age=1", code=4)
    assert "Give it too: --slices FILE" in done.stdout + done.stderr
