"""What pyproject.toml cannot express.

The folder `evals` is installed as the package `fer_models.evals`.
The wheel contains the baselines of the synthetic faces.
"""

import json
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py


class BuildWithBaselines(build_py):
    """Build the package with `fer_models/baselines.json`: the synthetic records, and the published claims."""

    def run(self):
        """Build, and write the baselines."""
        super().run()
        if not self.editable_mode:
            baselines = json.loads(Path("baselines.json").read_text(encoding="utf-8"))
            baselines["measured"] = [r for r in baselines["measured"] if r["dataset"] == "synthetic"]
            path = Path(self.build_lib, "fer_models", "baselines.json")
            path.write_text(json.dumps(baselines) + "\n", encoding="utf-8")

    def get_outputs(self, include_bytecode=True):
        """List the files of the build, with the baselines."""
        generated = [] if self.editable_mode else [str(Path(self.build_lib, "fer_models", "baselines.json"))]
        return [*super().get_outputs(include_bytecode), *generated]


setup(
    packages=[*find_namespace_packages(include=["fer_models", "fer_models.*"]), "fer_models.evals"],
    package_dir={"fer_models.evals": "evals"},
    cmdclass={"build_py": BuildWithBaselines},
)
