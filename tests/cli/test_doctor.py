"""`fer-models doctor`."""

import json
from importlib import metadata

import pytest
from image_folders import write_images

from fer_models import cli, diagnosis


@pytest.fixture
def doctor(capsys):
    """The exit code and the findings of a diagnosis, by name."""

    def run(*arguments):
        code = cli.main(["doctor", "--format", "json", *arguments])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] == (code == 0)
        return code, {finding["name"]: finding for finding in report["findings"]}

    return run


@pytest.fixture
def requirements(monkeypatch):
    """A function that replaces the requirements of the package."""

    def require(*texts):
        monkeypatch.setattr(metadata, "requires", lambda name: list(texts))

    return require


def test_a_complete_machine_has_no_problem_and_missing_weights_have_their_command(doctor):
    code, findings = doctor()
    assert code == 0
    assert findings["vgg19"]["value"] == "here"
    assert findings["phi-3.5-vision"]["state"] in ("here", "missing")
    missing = [finding for finding in findings.values() if finding["state"] == "missing"]
    assert all(finding["command"] for finding in missing)
    assert {finding["section"] for finding in findings.values()} <= set(diagnosis.SECTIONS)


def test_weights_that_are_missing_from_the_package_are_a_problem(doctor, tmp_path, monkeypatch):
    monkeypatch.setattr("fer_models.artifacts.weights.SHIPPED", tmp_path)
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    code, findings = doctor()
    assert code == 1
    assert findings["vgg19.safetensors"]["state"] == "problem"
    assert "--force-reinstall" in findings["vgg19.safetensors"]["command"]
    assert findings["vgg19"]["state"] == "missing"


def test_a_changed_file_of_the_package_is_a_problem(doctor, tmp_path, monkeypatch):
    (tmp_path / "vgg19.safetensors").write_bytes(b"changed")
    monkeypatch.setattr("fer_models.artifacts.weights.SHIPPED", tmp_path)
    code, findings = doctor()
    assert code == 1
    assert "Reinstall" in findings["vgg19"]["value"]
    assert findings["vgg19"]["state"] == "problem"


def test_a_required_package_that_is_missing_or_too_old_is_a_problem(doctor, requirements):
    requirements("numpy>=1", "pillow>=9999", "no-such-package>=2", 'absent; python_version < "3"')
    code, findings = doctor()
    assert code == 1
    assert findings["numpy"]["state"] == "here"
    assert "needed: >=9999" in findings["pillow"]["value"]
    assert findings["no-such-package"]["command"] == 'pip install "no-such-package>=2"'
    assert "absent" not in findings


def test_an_extra_is_here_if_all_its_packages_are(doctor, requirements):
    requirements(
        "numpy", 'pillow; extra == "third-party"', 'no-such-package; extra == "gfpgan"', 'x; extra == "dev"'
    )
    code, findings = doctor()
    assert code == 0
    assert findings["third-party"]["state"] == "here"
    assert findings["gfpgan"]["state"] == "missing"
    assert findings["gfpgan"]["command"] == 'pip install "fer-models[gfpgan]"'
    assert "dev" not in findings


def test_a_dataset_that_cannot_be_read_is_a_problem(doctor, tmp_path):
    code, findings = doctor("--dataset", str(tmp_path / "nowhere"))
    assert code == 1
    assert any(f["section"] == "data" and f["state"] == "problem" for f in findings.values())


def test_numbered_folders_and_several_splits_are_read_with_the_options_of_a_run(doctor, tmp_path):
    for split in ("validation", "private_test"):
        write_images(tmp_path, *(f"{split}/{number}/a.png" for number in range(7)))
    code, findings = doctor("--dataset", str(tmp_path))
    (problem,) = (f for f in findings.values() if f["section"] == "data" and f["state"] == "problem")
    assert (code, "--split" in problem["value"]) == (1, True)
    options = ("--dataset", str(tmp_path), "--split", "private_test", "--label-scheme", "fer2013")
    code, findings = doctor(*options)
    assert code == 0
    assert findings[f"{tmp_path.name}/private_test"]["value"] == "7 faces"


def test_the_report_fits_80_columns_and_ends_with_what_to_do(capsys, tmp_path, monkeypatch):
    assert cli.main(["doctor"]) == 0
    healthy = capsys.readouterr().out
    assert healthy.splitlines()[-1] == "The default evals can run. Next: fer-models eval --depth quick"
    monkeypatch.setattr("fer_models.artifacts.weights.SHIPPED", tmp_path)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("problems:") for line in lines)
    assert "--force-reinstall" in lines[-1]
    assert max(len(line) for line in healthy.splitlines() if "/" not in line) <= 80
