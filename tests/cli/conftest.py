"""What the tests of commands share."""

import pytest
from eval_reports import full_report

from fer_models.report.report_file import write_report


@pytest.fixture
def evals_json(tmp_path, monkeypatch):
    """A report with failures in `reports` of the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "reports" / "evals.json"
    write_report(full_report(), path)
    return path
