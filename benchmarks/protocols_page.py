"""Write the tables and figures of `docs/protocols.md` from the runs in `benchmarks/protocols.json`.

    python benchmarks/protocols_page.py                   # from the runs that the repository has
    python benchmarks/protocols_page.py --study FOLDER    # add runs to them first

FOLDER is the output folder of `fer-models study protocols`. The runs of one study may come from several
machines and days: a run replaces the one with the same protocol, training and seed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_models.report import protocol_study
from fer_models.studies.protocol_runs import ProtocolRun
from fer_models.studies.protocol_splits import PROTOCOLS

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "benchmarks" / "protocols.json"
PAGE = ROOT / "docs" / "protocols.md"
FIGURES = {"protocol-steps": protocol_study.steps_figure, "protocol-curves": protocol_study.curves_figure}
_TABLES = re.compile(r"(<!-- Written by benchmarks/protocols_page\.py -->\n)(.*?)(<!-- End -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="output of `fer-models study protocols`")
    args = parser.parse_args()
    content = json.loads(RUNS.read_text(encoding="utf-8"))
    if args.study is not None:
        content = add_runs(content, args.study)
        RUNS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    runs = [ProtocolRun.from_json(run) for run in content["runs"]]
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")
    for name, draw in FIGURES.items():
        svg = protocol_study.to_svg(draw(runs))
        (ROOT / "docs" / "images" / f"{name}.svg").write_text(svg, encoding="utf-8")


def add_runs(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The content of benchmarks/protocols.json with the runs in an output folder of the study.

    Raises:
        SystemExit: the folder has no runs, or one of other faces or another recipe than those in the file.
    """
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    added = [file for file in files if {"inputs", "result"} <= set(file)]
    if not added:
        raise SystemExit(f"{folder} has no runs of `fer-models study protocols`.")
    data, recipes = content["data"], dict(content["recipes"])
    runs = {_key(run): run for run in content["runs"]}
    for file in added:
        run = file["result"]
        name, recipe, fingerprints, *_ = json.loads(file["inputs"])
        data = fingerprints if data is None else data
        if (fingerprints, recipe) != (data, recipes.setdefault(run["training"], recipe)):
            raise SystemExit(f"{name} in {folder} has other faces or another recipe than {RUNS.name}.")
        runs[_key(run)] = run
    return {"data": data, "recipes": recipes, "runs": sorted(runs.values(), key=_place)}


def _key(run: Mapping[str, Any]) -> tuple[str, str, int]:
    return run["protocol"], run["training"], run["seed"]


def _place(run: Mapping[str, Any]) -> tuple[bool, str, int, int]:
    """The place of a run: by training (`plain` first), seed and protocol."""
    training = run["training"]
    return training != "plain", training, run["seed"], list(PROTOCOLS).index(run["protocol"])


def with_tables(page: str, runs: Sequence[ProtocolRun]) -> str:
    """The page with the tables of these runs between its two marks.

    Raises:
        SystemExit: the page lacks a mark.
    """
    text, n = _TABLES.subn(lambda m: f"{m[1]}\n{protocol_study.markdown(runs)}\n\n{m[3]}", page)
    if n != 1:
        raise SystemExit(f"{PAGE.name} must have one pair of marks, {_TABLES.pattern}")
    return text


if __name__ == "__main__":
    main()
