"""`fer-models pareto`."""

import json

import pytest
from eval_reports import content, cost, result

from fer_models import cli


@pytest.fixture
def path(tmp_path):
    """The report of a fast and accurate model and of a slow one."""
    costs = [cost(model="fast", images_per_second=90.0), cost(model="slow", images_per_second=9.0)]
    file = tmp_path / "evals.json"
    file.write_text(json.dumps(content(results=[result("fast", 0.9), result("slow", 0.1)], costs=costs)))
    return file


def test_each_format_names_the_dominated_model(path, capsys):
    for name in ("text", "markdown"):
        assert cli.main(["pareto", str(path), "--format", name]) == 0
        assert "overlap or unknown" in capsys.readouterr().out
    assert cli.main(["pareto", str(path), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["dominated_by"] for row in rows] == [None, "fast-raw"]


def test_a_report_without_the_cost_is_an_error_that_names_the_command(path, capsys):
    assert cli.main(["pareto", str(path), "--cost", "relative"]) == 4
    assert "pytest evals -k" in capsys.readouterr().err
