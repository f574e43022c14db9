"""`fer-models init`: writes the files of a gate for the user's models into the current folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_models.artifacts import resources
from fer_models.cli.common import Commands, add_command
from fer_models.errors import UsageError

#: Each file and its template.
FILES = {
    "my_models.py": "my_models.py.txt",
    "conftest.py": "conftest.py.txt",
    "test_evals.py": "test_evals.py.txt",
    "baselines.json": "baselines.json.txt",
    ".github/workflows/evals.yml": "evals.yml.txt",
    ".gitignore": "gitignore.txt",
}
_PLUGIN_LINE = 'pytest_plugins = ["fer_models.plugin"]'


def add(commands: Commands) -> None:
    """Add the parser of `init`."""
    parser = add_command(
        commands,
        "init",
        "write the files of a gate for your own models into the current folder",
        ("mkdir gate && cd gate && fer-models init && pytest test_evals.py -k raw",),
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files that do not exist yet, and print the next command."""
    folder = Path.cwd()
    existing = {name for name in FILES if (folder / name).exists()}
    for name, template in FILES.items():
        if name in existing:
            print(f"kept   {name} (it exists; nothing was changed)")
        else:
            _write(folder / name, (resources.TEMPLATES / template).read_text(encoding="utf-8"))
            print(f"wrote  {name}")
    manual = False
    conftest = _read(folder / "conftest.py")
    if "conftest.py" in existing and "my_models.py" not in conftest:
        manual = True
        if "fer_models.plugin" not in conftest:
            print(f"\nAdd this line to conftest.py:\n    {_PLUGIN_LINE}")
    ignored = _read(folder / ".gitignore")
    entries = (".benchmarks/", ".evals/", ".baselines.json.lock", "reports/")
    if missing := [entry for entry in entries if entry not in ignored]:
        print(f"\nAdd to .gitignore: {' '.join(missing)}")
    command = "pytest test_evals.py" + (" --model my_models.py" if manual else "")
    print(f"\nNext: {command} -k raw      # every verdict is NEW; without -k also with face restoration")
    print(f"Then: {command} --update-baselines      # from now on the models are compared with these records")
    print("These evaluate synthetic faces. Add --dataset FOLDER for labelled faces of your own.")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}). Choose another folder.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
