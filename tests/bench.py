"""A bench for whole runs: `pytest evals` in a process of its own, on a small class folder and models of known
scores.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fakes import oracle_labels, toy_faces
from PIL import Image
from processes import run_python

from fer_models.datasets.base import FaceSet
from fer_models.emotions import LABELS

FACES = 105
MODEL = """
import json
from pathlib import Path
import numpy as np
from fer_models import ModelSpec, Predictions
from fer_models.images import face_hash

LABELS = json.loads(Path({labels!r}).read_text())
TURNED = {turned}

class Oracle:
    def predict(self, faces):
        {body}
        rows = np.full((len(faces), 7), 0.05)
        for row, face in zip(rows, faces):
            name = face_hash(face)
            truth = LABELS.get(name, 0)
            wrong = int(name, 16) % 5 == 0 or sorted(LABELS).index(name) < TURNED if name in LABELS else False
            row[:] = (1 - {sure}) / 6
            row[(truth + 1) % 7 if wrong else truth] = {sure}
        return Predictions.from_probabilities(rows)

MODELS = [ModelSpec("knowing", load=lambda runtime: Oracle(){extra})]
"""


#: Several runs in one process.
SEVERAL = """
import sys, pytest
sys.stderr = sys.stdout
codes = set()
for command in {commands!r}:
    print("=-=-=", flush=True)
    codes.add(int(pytest.main([*command, "-W", "ignore::pytest.PytestAssertRewriteWarning"])))
sys.exit(codes.pop() if len(codes) == 1 else 99)
"""
#: The same, and the code of each.
SEVERAL_CODES = """
import sys, pytest
sys.stderr = sys.stdout
for command in {commands!r}:
    print("=-=-=", flush=True)
    code = int(pytest.main([*command, "-W", "ignore::pytest.PytestAssertRewriteWarning"]))
    print("ended with", code, flush=True)
"""


@dataclass
class Bench:
    """A folder in which the evals are run."""

    repository: Path
    folder: Path

    def command(self, *arguments, model="model.py", questions="accuracy", faces="faces"):
        command = [
            "evals",
            "-p",
            "no:cacheprovider",
            "--dataset",
            self.folder / faces,
            "--model-file",
            self.folder / model,
        ]
        command += ["--model", "knowing"] if "--model" not in arguments else []
        command += ["-k", f"({questions}) and raw"]
        baselines = self.folder / "baselines.json"
        names = {"--store": "store", "--report-dir": "reports", "--work-dir": "."}
        if (
            baselines.exists() or "--update-baselines" in arguments
        ):  # an option for a file that is not there is refused
            names["--baselines"] = baselines.name
        for option, name in names.items():
            command += [option, self.folder / name]
        return [*map(str, command), *map(str, arguments)]

    def run(self, *arguments, code=0, **options):
        return self.run_python(["-m", "pytest", *self.command(*arguments, **options)], code)

    def run_each(self, *commands, code):
        """Several runs in one process, for what ends before the first test; what each of them printed."""
        (self.folder / "runs.py").write_text(SEVERAL.format(commands=commands))
        return self.run_python([str(self.folder / "runs.py")], code).stdout.split("=-=-=")[1:]

    def run_python(self, command, code, **environment):
        done = self.start(command, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def start(self, command, **environment):
        """A run of its own, also where these tests themselves run in several processes; however it ends."""
        alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return run_python(command, self.repository, alone | environment)

    def report(self):
        return json.loads((self.folder / "reports" / "evals.json").read_text())

    def write_model(self, name="model.py", turned=0, body="pass", extra="", sure=0.7):
        (self.folder / name).write_text(
            MODEL.format(
                labels=str(self.folder / "labels.json"), turned=turned, body=body, extra=extra, sure=sure
            )
        )


def write_faces(root: Path, n: int) -> FaceSet:
    """Write the first `n` synthetic faces as class folders under `root`; the faces."""
    faces = toy_faces(n)
    for i, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        folder = root / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return faces


def make_bench(tmp_path: Path, repository: Path) -> Bench:
    """A bench in `tmp_path` with `FACES` faces and the model `knowing`."""
    faces = write_faces(tmp_path / "faces", FACES)
    (tmp_path / "labels.json").write_text(json.dumps({k: int(v) for k, v in oracle_labels(faces).items()}))
    made = Bench(repository, tmp_path)
    made.write_model()
    return made
