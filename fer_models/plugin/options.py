"""Command line options of the evals, and the configuration that they give."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_models import corruptions
from fer_models.artifacts import resources
from fer_models.artifacts.device import default_batch_size
from fer_models.artifacts.object_storage import ObjectPath, store_path
from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.config import ENGINES, EvalConfig
from fer_models.datasets.schemes import SCHEMES
from fer_models.depth import DEPTHS, Depth
from fer_models.errors import StoreError, UsageError
from fer_models.slices.columns import MIN_SLICE
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
    """Add every option of a run."""
    group = parser.getgroup("fer-models", "fer-models: evaluation of facial emotion recognition models")
    for name, settings in all_options().items():
        group.addoption(name, **settings)


def all_options() -> dict[str, dict[str, Any]]:
    """Every option of a run with its settings, as argparse takes them."""
    return {**_faces(), **_slices(), **_models(), **_depths(), **_engine(), **_files()}


def _text(metavar: str, help_text: str, **settings: Any) -> dict[str, Any]:
    """Settings of an option with a value."""
    return {"metavar": metavar, "help": help_text, **settings}


def _number(help_text: str, **settings: Any) -> dict[str, Any]:
    """Settings of an option with a whole number."""
    return _text("N", help_text, type=int, **settings)


def _path(metavar: str, help_text: str, **settings: Any) -> dict[str, Any]:
    """Settings of an option with a path."""
    return _text(metavar, help_text, type=Path, **settings)


def _flag(help_text: str) -> dict[str, Any]:
    """Settings of an option without a value."""
    return {"action": "store_true", "help": help_text}


def _faces() -> dict[str, dict[str, Any]]:
    """Options of the faces."""
    dataset = "the dataset: synthetic (default), fer2013, or the path of a class-folder dataset"
    split = "the split (fer2013: train, public_test, private_test, test; default: public_test)"
    scheme = f"the meaning of numbered class folders: {', '.join(SCHEMES)}, or a JSON file"
    corruption = (
        f"the corruption of every face, such as gaussian-noise@4: {', '.join(corruptions.names())}; 1 to 5"
    )
    return {
        "--dataset": _text("NAME", dataset, default="synthetic"),
        "--data-root": _path("FOLDER", "the folder of the dataset"),
        "--split": _text("NAME", split),
        "--label-scheme": _text("NAME", scheme),
        "--corruption": _text("NAME@SEVERITY", corruption),
        "--limit": _number("evaluate N faces only, stratified by emotion"),
        "--download": _flag("download missing data"),
    }


def _slices() -> dict[str, dict[str, Any]]:
    """Options of the slices."""
    file = (
        "properties of the faces, to score and judge their slices: a .csv or .parquet file (docs/slices.md)"
    )
    cuts = "the cuts of a numeric column of that file (default: its quartiles; repeatable)"
    crossed = "score and judge the slices of two columns together, too (repeatable)"
    return {
        "--slices": _path("FILE", file),
        "--slice-cuts": _text("COLUMN=A,B", cuts, action="append", default=[]),
        "--cross-slices": _text("COLUMN,COLUMN", crossed, action="append", default=[]),
        "--min-slice": _number(
            f"the faces that a slice needs to be judged (default: {MIN_SLICE})", default=MIN_SLICE
        ),
    }


def _models() -> dict[str, dict[str, Any]]:
    """Options of the models."""
    model = (
        "evaluate only this model (repeatable): NAME, NAME@FILE or timm:NETWORK@FILE with your weights, "
        "or FILE.py for all models of a file"
    )
    sets, names = ", ".join(prompts.names()), ", ".join(questions.QUESTIONS)
    prompt_set = f"the prompts of CLIP models: {sets}, or a JSON file (default: {models.DEFAULT_PROMPTS})"
    question = f"the question of vision-language models: {names} (default: {models.DEFAULT_QUESTION})"
    file = "add the MODELS and RESTORERS of a Python file (repeatable)"
    device = "the device of the models (default: the best)"
    precision = "the arithmetic of the networks (default: that of each model)"
    compiled = "compile the networks of timm and open_clip models (torch.compile): worth it for many faces"
    return {
        "--model": _text("NAME", model, action="append", default=[]),
        "--model-file": _path("FILE.py", file, action="append", default=[]),
        "--prompts": _text("NAME", prompt_set),
        "--question": _text("NAME", question),
        "--device": {"default": "auto", "choices": DEVICES, "help": device},
        "--precision": {"default": "auto", "choices": ("auto", *PRECISIONS), "help": precision},
        "--batch-size": _number("faces per forward pass, up to 256 (default: 256 on a GPU, else 64)"),
        "--compile": _flag(compiled),
        "--cached-only": _flag("judge stored predictions only; load no model"),
    }


def _depths() -> dict[str, dict[str, Any]]:
    """Options of the depth and its sizes."""
    depth = "how much is evaluated: quick, standard (default) or full"
    variants = f"faces for restorations and +likelihood ({_sizes('variant_limit')})"
    question = f"faces of the question robustness check ({_sizes('question_limit')})"
    metamorphic = f"faces of the metamorphic robustness check ({_sizes('metamorphic_limit')})"
    corruption = f"faces of the corruption robustness check ({_sizes('corruption_limit')})"
    search = f"prompts of the search for the worst prompt ({_sizes('prompt_search_examples')})"
    return {
        "--depth": {"default": "standard", "choices": tuple(DEPTHS), "help": depth},
        "--restoration-limit": _number(variants),
        "--question-limit": _number(question),
        "--metamorphic-limit": _number(metamorphic),
        "--corruption-limit": _number(corruption),
        "--prompt-search-examples": _number(search),
        "--measure-costs": _flag("measure all costs again, also stored ones"),
    }


def _engine() -> dict[str, dict[str, Any]]:
    """Options of the processes that predict."""
    engine = "where faces are predicted: local (default: this process) or ray (docs/scaling.md)"
    address = "with --engine ray: the address of a cluster (default: one of this machine, for this run)"
    actors = "with --engine ray: the number of processes (default: one per GPU, else one per 2 cores)"
    return {
        "--engine": {"default": "local", "choices": ENGINES, "help": engine},
        "--ray-address": _text("ADDRESS", address),
        "--ray-actors": _number(actors),
    }


def _files() -> dict[str, dict[str, Any]]:
    """Options of the baselines, the store and the report."""
    update = "record the results in the baselines file; verdicts still compare with the old records"
    work = "the folder of baselines.json, reports and .evals (default: pytest's root folder)"
    baselines = "the baselines file (default: baselines.json in the work folder, else the packaged one)"
    store = (
        "the folder of stored predictions, or s3://BUCKET/FOLDER (default: .evals/store in the work folder)"
    )
    reports = "the folder of evals.html and evals.json (default: reports in the work folder)"
    return {
        "--update-baselines": _flag(update),
        "--work-dir": _path("FOLDER", work),
        "--baselines": _path("FILE", baselines),
        "--store": _text("FOLDER", store, type=store_path),
        "--report-dir": _path("FOLDER", reports),
        "--strict-gate": _flag("fail also with the verdicts INCONCLUSIVE, NEW and DEGRADED"),
    }


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
    baselines: Path | None = option("--baselines")
    if baselines is not None and not baselines.is_file() and not option("--update-baselines"):
        record = f"pytest evals --update-baselines --baselines {baselines}"
        raise UsageError(
            f"--baselines {baselines}: no such file. Check its name, or record a new one: {record}"
        )
    if option("--batch-size") is not None and option("--batch-size") < 1:
        raise UsageError(f"--batch-size must be at least 1, got {option('--batch-size')}.")
    if option("--min-slice") < 1:
        raise UsageError(f"--min-slice must be at least 1, got {option('--min-slice')}.")
    for name in (*_SIZES, "--ray-actors"):
        if option(name) is not None and option(name) < 1:
            raise UsageError(f"{name} must be at least 1, got {option(name)}.")
    _check_depth(config)
    _check_engine(config)
    if isinstance(option("--store"), ObjectPath):
        try:
            option("--store").check()
        except StoreError as error:
            raise UsageError(f"--store {error}") from error


def _check_depth(config: pytest.Config) -> None:
    """Check that no option is given for what the depth leaves out. Raises UsageError."""
    if DEPTHS[config.getoption("--depth")].checks:
        return
    given = [name for name in (*_SIZES, "--measure-costs") if config.getoption(name)]
    if given:
        raise UsageError(
            f"{given[0]} has no effect at --depth quick, which only compares predictions. "
            "Leave it out, or use --depth standard."
        )


def _check_engine(config: pytest.Config) -> None:
    """Check the options of the engine.

    Raises:
        UsageError: they contradict each other, or Ray is not installed.
    """
    option = config.getoption
    given = [name for name in ("--ray-address", "--ray-actors") if option(name) is not None]
    if option("--engine") != "ray":
        if given:
            raise UsageError(f"{given[0]} is an option of --engine ray. Add --engine ray.")
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError('--engine ray needs the package ray: pip install "fer-models[ray]"')
    if option("numprocesses", None) and option("--ray-address") is None:
        raise UsageError(
            "With --engine ray, each process of -n would start a cluster of its own. "
            "Leave -n out, or start a cluster (ray start --head) and give --ray-address auto."
        )


def depth_of(config: pytest.Config) -> Depth:
    """The depth of a run, with the sizes that the user changed."""
    sizes: dict[str, Any] = {
        field: config.getoption(name) for name, field in _SIZES.items() if config.getoption(name) is not None
    }
    return replace(DEPTHS[config.getoption("--depth")], **sizes)


def read(config: pytest.Config) -> EvalConfig:
    """The configuration of a run.

    Raises:
        UsageError: an option cannot work.
    """
    from fer_models.corruptions import Corruption
    from fer_models.slices.slice_options import parse_cuts, parse_pair

    check(config)
    option = config.getoption
    return EvalConfig(
        dataset=option("--dataset"),
        data_root=option("--data-root"),
        split=option("--split"),
        label_scheme=option("--label-scheme"),
        limit=option("--limit"),
        slices=option("--slices"),
        slice_cuts=parse_cuts(option("--slice-cuts")),
        crossed_slices=tuple(parse_pair(pair) for pair in option("--cross-slices")),
        min_slice=option("--min-slice"),
        corruption=Corruption.parse(option("--corruption")) if option("--corruption") else None,
        runtime=Runtime(option("--device"), option("--precision"), option("--download"), option("--compile")),
        batch_size=option("--batch-size") or default_batch_size(option("--device")),
        store=option("--store") or work_dir(config) / ".evals" / "store",
        baselines=option("--baselines") or work_dir(config) / "baselines.json",
        shipped_baselines=None if option("--baselines") else resources.shipped_baselines(),
        cached_only=option("--cached-only"),
        depth=depth_of(config),
        measure_costs=option("--measure-costs")
        or any(config.getoption(name, None) for name in _KEEPS_BENCHMARKS),
        only_stored_costs=hasattr(config, "workerinput")
        or bool(config.getoption("benchmark_disable", False)),
        whole_variants=option("--update-baselines"),
        named_models=bool(option("--model")),
        prompts_by_option=bool(option("--prompts") or option("--question")),
        local_folder=work_dir(config) / ".evals",
        engine=option("--engine"),
        ray_address=option("--ray-address"),
        ray_actors=option("--ray-actors"),
    )
