"""Whole runs: what the page and evals.json show of faces, names and costs."""

import numpy as np
import pytest
from bench import FACES
from doc_blocks import read_blocks


@pytest.mark.slow
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


def test_the_readmes_own_model_works_as_it_stands(bench, repository):
    blocks = read_blocks("README.md", (repository / "README.md").read_text(encoding="utf-8"))
    (model,) = (block for block in blocks if block.title == "my_model.py")
    (bench.folder / model.title).write_text(model.text)
    bench.run("--model", "my-model", model=model.title, questions="accuracy and my-model")
    result = bench.report()["results"][0]
    assert result["subject"]["model"] == "my-model"
    assert result["unanswered"] == 0
    assert len([line for line in model.text.splitlines() if line.strip()]) <= 10


def test_hostile_names_are_escaped_on_the_page(bench):
    hostile = "<img src=x onerror=alert(1)>"
    (bench.folder / "faces").rename(bench.folder / hostile)
    bench.run(faces=hostile)
    assert "<img src=x" not in (bench.folder / "reports" / "evals.html").read_text()


@pytest.mark.slow
def test_costs_are_measured_and_left_for_the_page(bench):
    bench.run(questions="cost and (inference or evaluation or preprocessing)")
    costs = bench.report()["costs"]
    assert {c["phase"] for c in costs} >= {"evaluation"}
    assert all(c["seconds"] > 0 and np.isfinite(c["images_per_second"]) for c in costs)
