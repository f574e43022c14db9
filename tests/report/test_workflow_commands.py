"""Annotations of GitHub Actions."""

import re

import hypothesis.strategies as st
import pytest
from eval_reports import full_report, report, result
from hypothesis import example, given

from fer_models.report.workflow_commands import SHOWN, workflow_commands

PLACE = "fer2013/private_test"


def failed(name, message="it fell"):
    return result(name, verdict="FAIL", fails=True, message=message)


def parsed(line):
    """Level, title and message, as the runner of GitHub Actions reads them."""
    level, title, message = re.fullmatch("::(error|warning) title=([^:,\n]*)::([^\n\r]*)", line).groups()
    for code, character in {"%3A": ":", "%2C": ",", "%0A": "\n", "%0D": "\r", "%25": "%"}.items():
        title, message = title.replace(code, character), message.replace(code, character)
    return level, title, message


def test_failures_and_errors_are_errors_and_uncertain_verdicts_are_warnings():
    results = [
        failed("bad", "100 % fell:\n  now, 0.1"),
        result("unsure", verdict="INCONCLUSIVE", message="too few faces"),
        result("new", verdict="NEW", message="no baseline"),
        result("good"),
    ]
    lines = list(
        workflow_commands(report(results=results, errors=[{"subject": "gone", "message": "no file"}]))
    )
    assert lines[0] == f"::error title=FAIL%3A bad-raw on {PLACE}::100 %25 fell:%0A  now, 0.1"
    assert list(map(parsed, lines)) == [
        ("error", f"FAIL: bad-raw on {PLACE}", "100 % fell:\n  now, 0.1"),
        ("error", "ERROR: gone", "no file"),
        ("warning", f"INCONCLUSIVE: unsure-raw on {PLACE}", "too few faces"),
    ]


def test_an_outcome_without_a_message_has_its_title():
    assert [parsed(line)[2] for line in workflow_commands(report(results=[failed("bad", "")]))] == [
        f"FAIL: bad-raw on {PLACE}"
    ]


@pytest.mark.parametrize("n", [SHOWN, SHOWN + 1, SHOWN + 5])
def test_what_github_would_not_show_is_named_in_the_last_line(n):
    lines = list(map(parsed, workflow_commands(report(results=[failed(f"m{i:02}") for i in range(n)]))))
    assert len(lines) == SHOWN
    text = "\n".join(title + message for _, title, message in lines)
    assert all(f"m{i:02}-raw" in text for i in range(n))
    if n > SHOWN:
        assert lines[-1][:2] == ("error", f"{n - SHOWN + 1} more")


@example("%0A::error::x\r\n::stop-commands::y,:%25")
@given(st.text(max_size=40))
def test_no_text_ends_an_annotation_or_starts_another(text):
    (line,) = workflow_commands(report(results=[failed(text, f"m{text}")]))
    level, title, message = parsed(line)
    assert level == "error"
    assert title.startswith("FAIL: ")
    assert message.startswith("m")
    assert not any(part.startswith("::") for part in line.splitlines()[1:])


def test_a_report_without_failures_has_no_annotation():
    assert list(workflow_commands(report(results=[result()]))) == []
    assert list(workflow_commands(full_report()))
