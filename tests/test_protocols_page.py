"""The tables of `docs/protocols.md`, which `benchmarks/protocols_page.py` writes."""

import importlib.util
import json

import pytest

from fer_models.studies.protocol_runs import ProtocolRun


@pytest.fixture
def protocols_page(repository):
    path = repository / "benchmarks" / "protocols_page.py"
    spec = importlib.util.spec_from_file_location("protocols_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def content(repository):
    return json.loads((repository / "benchmarks" / "protocols.json").read_text(encoding="utf-8"))


def test_the_page_shows_the_runs_that_the_repository_has(protocols_page, content, repository):
    written = (repository / "docs" / "protocols.md").read_text(encoding="utf-8")
    runs = [ProtocolRun.from_json(run) for run in content["runs"]]
    assert written == protocols_page.with_tables(written, runs), "Run: python benchmarks/protocols_page.py"


def write_run(folder, content, **changes):
    """The file of the study for the first run, with changes."""
    run = content["runs"][0] | changes
    recipe = changes.get("recipe", content["recipes"][run["training"]])
    run.pop("recipe", None)
    name = f"{run['protocol']}-{run['training']}-{run['seed']}"
    inputs = json.dumps([name, recipe, content["data"], None, None])
    (folder / f"{name}.json").write_text(json.dumps({"inputs": inputs, "result": run}))
    return run


def test_a_run_of_a_study_replaces_the_one_with_the_same_seed(protocols_page, content, tmp_path):
    (tmp_path / "protocols.json").write_text(json.dumps({"runs": []}))  # the study's own summary is no run
    replaced = write_run(tmp_path, content, seconds=1.0)
    new = write_run(tmp_path, content, seed=99)
    added = protocols_page.add_runs(content, tmp_path)
    assert added["runs"][0] == replaced
    assert new in added["runs"]
    assert len(added["runs"]) == len(content["runs"]) + 1
    assert protocols_page.add_runs(added, tmp_path) == added


@pytest.mark.parametrize(
    ("changes", "message"), [({"recipe": {"epochs": 1}}, "another recipe"), (None, "has no runs")]
)
def test_runs_that_cannot_be_compared_are_refused(protocols_page, content, tmp_path, changes, message):
    if changes is not None:
        write_run(tmp_path, content, **changes)
    with pytest.raises(SystemExit, match=message):
        protocols_page.add_runs(content, tmp_path)
