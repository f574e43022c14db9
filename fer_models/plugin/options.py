"""The command line contract of the evals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_models.artifacts import resources
from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.config import EvalConfig
from fer_models.datasets.schemes import SCHEMES
from fer_models.depth import DEPTHS, Depth
from fer_models.errors import UsageError
from fer_models.zoo import models
from fer_models.zoo.spec import DEVICES, PRECISIONS, Runtime

#: The options that change a size of the depth, and the field they change.
_SIZES = {
    "--restoration-limit": "variant_limit",
    "--question-limit": "question_limit",
    "--metamorphic-limit": "metamorphic_limit",
    "--corruption-limit": "corruption_limit",
    "--prompt-search-examples": "prompt_search_examples",
}
#: Options of pytest-benchmark that use times measured in this run.
_KEEPS_BENCHMARKS = (
    "benchmark_save",
    "benchmark_autosave",
    "benchmark_json",
    "benchmark_compare",
    "benchmark_only",
    "benchmark_histogram",
)


def _sizes(field: str) -> str:
    """The sizes of the depths that a help text names: `standard 7, full 21`."""
    values = {name: getattr(DEPTHS[name], field) for name in ("standard", "full")}
    return ", ".join(f"{name} {'all' if value is None else value}" for name, value in values.items())


def add(parser: pytest.Parser) -> None:
    """Every option of a run."""
    group = parser.getgroup("fer-models", "fer-models: evaluation of facial emotion recognition models")
    add = group.addoption
    add(
        "--dataset",
        default="synthetic",
        metavar="NAME",
        help="synthetic (default), fer2013, or the path of a class-folder dataset",
    )
    add("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    add(
        "--split",
        metavar="NAME",
        help="which split (fer2013: train, public_test, private_test, test; default public_test)",
    )
    schemes = f"what numbered class folders mean: {', '.join(SCHEMES)}, or a JSON file"
    add("--label-scheme", metavar="NAME", help=schemes)
    corruption = "corruption of every face, such as gaussian-noise@4 (`--corruption help` lists all)"
    add("--corruption", metavar="NAME@SEVERITY", help=corruption)
    add("--limit", type=int, metavar="N", help="ask about N faces only, stratified by emotion")
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="ask only this model (repeatable); NAME@FILE and timm:NETWORK@FILE bring own weights; "
        "FILE.py: only the models of that file",
    )
    sets = ", ".join(prompts.names())
    add(
        "--prompts",
        metavar="NAME",
        help=f"what CLIP models are asked with: {sets}, or a JSON file (default {models.DEFAULT_PROMPTS})",
    )
    asked = ", ".join(questions.QUESTIONS)
    add(
        "--question",
        metavar="NAME",
        help=f"what models that write are asked: {asked} (default {models.DEFAULT_QUESTION})",
    )
    add(
        "--depth",
        default="standard",
        choices=tuple(DEPTHS),
        help="how much is evaluated: quick, standard (default) or full",
    )
    add(
        "--restoration-limit",
        type=int,
        metavar="N",
        help=f"faces for restorations and +likelihood ({_sizes('variant_limit')})",
    )
    add(
        "--question-limit",
        type=int,
        metavar="N",
        help=f"faces of the question robustness check ({_sizes('question_limit')})",
    )
    add(
        "--metamorphic-limit",
        type=int,
        metavar="N",
        help=f"faces of the metamorphic robustness check ({_sizes('metamorphic_limit')})",
    )
    add(
        "--corruption-limit",
        type=int,
        metavar="N",
        help=f"faces of the corruption robustness check ({_sizes('corruption_limit')})",
    )
    add(
        "--prompt-search-examples",
        type=int,
        metavar="N",
        help=f"prompts that the search writes ({_sizes('prompt_search_examples')})",
    )
    add(
        "--measure-costs",
        action="store_true",
        help="measure all costs anew, also those stored for this code, model and machine",
    )
    add(
        "--model-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.py",
        help="add the MODELS and RESTORERS of a Python file (repeatable)",
    )
    add("--device", default="auto", choices=DEVICES, help="where models run (default: the best here)")
    add(
        "--precision",
        default="auto",
        choices=("auto", *PRECISIONS),
        help="arithmetic of the networks (default: each model's own)",
    )
    add("--batch-size", type=int, default=64, metavar="N", help="faces per forward pass (default 64)")
    add("--download", action="store_true", help="allow the data to be fetched from the network")
    add(
        "--update-baselines",
        action="store_true",
        help="write what is measured into the baselines file; verdicts are still against the old ones",
    )
    work_folder = "folder of baselines.json, reports and .evals (default: pytest's root folder)"
    add("--work-dir", type=Path, metavar="FOLDER", help=work_folder)
    baselines = "the baselines file (default: baselines.json in the work folder, else the packaged one)"
    add("--baselines", type=Path, metavar="FILE", help=baselines)
    store = "where answers are kept between runs (default: .evals/store in the work folder)"
    add("--store", type=Path, metavar="FOLDER", help=store)
    add(
        "--cached-only",
        action="store_true",
        help="judge stored answers again; ask no model, and skip what is not stored",
    )
    reports = "where evals.html and evals.json go (default: reports in the work folder)"
    add("--report-dir", type=Path, metavar="FOLDER", help=reports)
    add("--strict-gate", action="store_true", help="the verdicts INCONCLUSIVE, NEW and DEGRADED fail too")


def work_dir(config: pytest.Config) -> Path:
    """Folder of baselines.json, reports and .evals: `--work-dir`, else pytest's root folder."""
    folder: Path | None = config.getoption("--work-dir")
    return config.rootpath if folder is None else folder.absolute()


def report_dir(config: pytest.Config) -> Path:
    """Folder of evals.html and evals.json."""
    folder: Path | None = config.getoption("--report-dir")
    return work_dir(config) / "reports" if folder is None else folder


def check(config: pytest.Config) -> None:
    """Check what can be checked without a heavy import.

    Raises:
        UsageError: an option cannot work.
    """
    option = config.getoption
    if option("--update-baselines") and (option("--limit") is not None or option("--depth") == "quick"):
        raise UsageError("--update-baselines records whole splits only. Leave --limit and --depth quick out.")
    given: Path | None = option("--baselines")
    if given is not None and not given.is_file() and not option("--update-baselines"):
        record = f"pytest evals --update-baselines --baselines {given}"
        raise UsageError(f"--baselines {given}: no such file. Check its name, or record a new one: {record}")
    if option("--batch-size") < 1:
        raise UsageError(f"--batch-size must be at least 1, got {option('--batch-size')}.")
    for name in _SIZES:
        if option(name) is not None and option(name) < 1:
            raise UsageError(f"{name} must be at least 1, got {option(name)}.")


def depth_of(config: pytest.Config) -> Depth:
    """The depth of a run, with the sizes that the user changed."""
    sizes: dict[str, Any] = {
        field: config.getoption(name) for name, field in _SIZES.items() if config.getoption(name) is not None
    }
    return replace(DEPTHS[config.getoption("--depth")], **sizes)


def read(config: pytest.Config) -> EvalConfig:
    """What the user asked of a run.

    Raises:
        UsageError: an option cannot work.
    """
    from fer_models.corruptions import Corruption

    check(config)
    option = config.getoption
    return EvalConfig(
        dataset=option("--dataset"),
        data_root=option("--data-root"),
        split=option("--split"),
        label_scheme=option("--label-scheme"),
        limit=option("--limit"),
        corruption=Corruption.parse(option("--corruption")) if option("--corruption") else None,
        runtime=Runtime(option("--device"), option("--precision"), option("--download")),
        batch_size=option("--batch-size"),
        store=option("--store") or work_dir(config) / ".evals" / "store",
        baselines=option("--baselines") or work_dir(config) / "baselines.json",
        shipped_baselines=None if option("--baselines") else resources.shipped_baselines(),
        cached_only=option("--cached-only"),
        depth=depth_of(config),
        measure_costs=option("--measure-costs")
        or any(config.getoption(name, None) for name in _KEEPS_BENCHMARKS),
        whole_variants=option("--update-baselines"),
        named_models=bool(option("--model")),
        prompts_by_option=bool(option("--prompts") or option("--question")),
    )
