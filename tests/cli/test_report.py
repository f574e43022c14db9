"""`fer-models report`."""

import json
from xml.etree import ElementTree as ET

import pytest
from eval_reports import full_content, full_report

from fer_models import cli
from fer_models.report.markdown import markdown


@pytest.fixture
def command(capsys):
    """Run `fer-models report`: exit code, standard output and standard error."""

    def run(*arguments):
        code = cli.main(["report", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_page_is_written_next_to_the_report(command, evals_json):
    code, output, _ = command()
    page = evals_json.with_suffix(".html")
    assert (code, output) == (0, "page: reports/evals.html\n")
    assert "resnet50" in page.read_text(encoding="utf-8")
    other = evals_json.parent / "new" / "page.html"
    assert command(evals_json, "--output", other)[0] == 0
    assert other.read_bytes() == page.read_bytes()


@pytest.mark.parametrize("form", ["markdown", "json", "junit"])
def test_other_formats_are_printed_or_written(command, evals_json, tmp_path, form):
    code, output, error = command("--format", form)
    assert (code, error) == (0, "")
    assert command("--format", form, "--output", "-") == (0, output, "")
    file = tmp_path / "new" / "report"
    assert command(evals_json, "--format", form, "--output", file) == (0, "", "")
    assert file.read_text(encoding="utf-8") == output
    assert not evals_json.with_suffix(".html").exists()


def test_each_format_has_the_report(command, evals_json):
    assert json.loads(command("--format", "json")[1]) == json.loads(evals_json.read_text())
    assert command("--format", "markdown")[1] == markdown(full_report())
    assert ET.fromstring(command("--format", "junit")[1]).get("failures") == "3"


def test_the_json_is_normalised(command, evals_json):
    before = command("--format", "json")[1]
    evals_json.write_text(json.dumps(dict(reversed(full_content().items()))))
    assert command("--format", "json")[1] == before


def test_a_report_that_is_missing_or_invalid_is_a_usage_error(command, evals_json):
    evals_json.write_text("{}")
    code, _, error = command()
    assert code == 4
    assert "reports/evals.json cannot be used" in error
    evals_json.unlink()
    code, _, error = command("--format", "json")
    assert code == 4
    assert "pytest evals" in error


def test_a_page_needs_a_file(command, evals_json):
    code, _, error = command("--output", "-")
    assert code == 4
    assert "--output evals.html" in error


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_file_that_cannot_be_written_is_a_usage_error(command, evals_json, form):
    code, _, error = command("--format", form, "--output", evals_json.parent)
    assert code == 4
    assert "--output FILE" in error
