"""The GitHub workflows of this repository, and the one that `fer-models init` writes."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = [
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    ROOT / "fer_models" / "assets" / "templates" / "evals.yml.txt",
]


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def text(request) -> str:
    return request.param.read_text(encoding="utf-8")


@pytest.fixture
def workflow(text) -> dict:
    return yaml.safe_load(text)


def test_every_workflow_is_read_here():
    assert len(WORKFLOWS) >= 4


def test_every_action_is_pinned_by_its_commit_and_names_its_release(text, workflow):
    lines = re.findall(r"uses:.*", text)
    assert len(lines) == len([step for step in steps(workflow) if "uses" in step]) > 0
    for line in lines:
        assert re.fullmatch(r"uses: [\w.-]+/[\w.-]+(?:/[\w.-]+)*@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_one_action_has_one_commit_in_all_workflows():
    pins = {
        tuple(use.split("@"))
        for path in WORKFLOWS
        for use in re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    }
    assert len(pins) == len({action for action, _ in pins})


def test_the_token_may_only_read(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]


def test_no_expression_is_pasted_into_a_shell_command(workflow):
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    assert not [command for command in commands if "${{" in command]


def test_a_checkout_leaves_no_credentials_behind(workflow):
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_pull_request_runs_with_the_rights_of_the_repository(workflow):
    assert "pull_request_target" not in str(workflow)
