"""The table of measured costs in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import run_python
from rich.cells import cell_len

from fer_models.plugin.benchmark_table import table

#: A benchmark with the figures of `evals/test_cost.py`, without a model.
SUITE = """
import pytest

@pytest.mark.parametrize("model", ["vgg19", "{long}"])
def test_cost(benchmark, model):
    benchmark.extra_info.update(phase="inference", model=model, batch=32, images_per_second=1024.0)
    benchmark.pedantic(lambda: None, rounds=3, iterations=1)
"""
LONG = "m" * 50
#: A heading of pytest-benchmark's own table, and one of the compact table.
OWN, COMPACT = "Name (time in", "faces/s"


def run(folder: Path, *options: str, suite: str = SUITE) -> str:
    (folder / "test_suite.py").write_text(suite.replace("{long}", LONG))
    repository = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": repository, "COLUMNS": "80", "PATH": ""}
    command = ["-m", "pytest", "-p", "fer_models.plugin", "-p", "no:cacheprovider", "-q", *options]
    done = run_python([*command, "test_suite.py"], folder, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_measured_costs_fit_80_columns_and_files_are_those_of_pytest_benchmark(tmp_path: Path) -> None:
    text = run(tmp_path, "--benchmark-json", "times.json")
    lines = text.splitlines()
    heading = next(line for line in lines if COMPACT in line)
    assert heading.split() == ["step", "median", "IQR", "faces/s"]
    assert OWN not in text
    first = lines.index(heading)
    assert max(map(cell_len, lines[first : first + 6])) <= 80
    assert any(line.split()[:1] == [LONG] for line in lines), "a name is whole"
    assert sum(line.endswith(" 1,024") for line in lines) == 2
    saved = json.loads((tmp_path / "times.json").read_text())["benchmarks"]
    assert [len(one["stats"]["data"]) for one in saved] == [3, 3]


@pytest.mark.parametrize("option", ["--benchmark-columns=min,max", "--benchmark-sort=max"])
def test_an_option_about_its_table_gives_the_table_of_pytest_benchmark(tmp_path: Path, option: str) -> None:
    text = run(tmp_path, option)
    assert OWN in text
    assert COMPACT not in text


def test_benchmarks_of_another_suite_keep_their_table(tmp_path: Path) -> None:
    text = run(tmp_path, suite="def test_other(benchmark):\n    benchmark(lambda: None)\n")
    assert OWN in text
    assert COMPACT not in text


def test_a_table_of_costs_has_a_section_for_each_step() -> None:
    def cost(phase: str, model: str | None, batch: int) -> dict[str, object]:
        info = {
            "phase": phase,
            "model": model,
            "restoration": "raw",
            "batch": batch,
            "images_per_second": 9.5,
        }
        return {"name": "test_cost", "median": 0.0031, "iqr": 0.0001, "extra_info": info}

    costs = [cost("single face", "a", 1), cost("inference", "a", 32), cost("inference", "[b]", 32)]
    lines = [line.plain for line in table([*costs, cost("evaluation", None, 1050)])]
    assert lines[0].split() == ["step", "median", "IQR", "faces/s"]
    rows = [line.split("  ")[0] for line in lines[2:]]
    assert rows == ["single face", "a", "inference, 32 faces", "a", "[b]", "evaluation, 1050 faces", "raw"]
    assert lines[3].split() == ["a", "3.1", "ms", "0.1", "ms", "9.5"]
