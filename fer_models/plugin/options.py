"""The command line contract of the evals."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_models import corruptions, zoo
from fer_models.classifiers import prompts, questions
from fer_models.corruptions import Corruption
from fer_models.errors import UsageError
from fer_models.evaluation.depth import DEPTHS
from fer_models.evaluation.options import Options
from fer_models.registry import DEVICES, PRECISIONS, Runtime

#: The options that change a size of the depth, and the field they change.
_SIZES = {
    "--restoration-limit": "variant_limit",
    "--question-faces": "question_limit",
    "--changed-faces": "metamorphic_limit",
    "--corrupted-faces": "corruption_limit",
    "--prompt-examples": "prompt_search_examples",
}
#: Options of pytest-benchmark that use times measured in this run.
_KEEPS_BENCHMARKS = ("benchmark_save", "benchmark_autosave", "benchmark_json", "benchmark_compare", "benchmark_only")


def _sizes(field: str) -> str:
    """The sizes of the depths that a help text names: `standard 7, full 21`."""
    values = {name: getattr(DEPTHS[name], field) for name in ("standard", "full")}
    return ", ".join(f"{name} {'all' if value is None else value}" for name, value in values.items())


def add(parser: pytest.Parser) -> None:
    """Every option of a run."""
    group = parser.getgroup("fer-models", "fer-models: facial emotion models put to the question")
    add = group.addoption
    add("--dataset", default="synthetic", metavar="NAME", help="synthetic (default), fer2013, or the path of a class-folder dataset")
    add("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    add("--split", metavar="NAME", help="which split (fer2013: train, public_test, private_test, test; default public_test)")
    add("--corruption", metavar="NAME@SEVERITY", help=f"what befalls the faces first, at severity 1 to 5: {', '.join(corruptions.names())}")
    add("--limit", type=int, metavar="N", help="ask about N faces only, stratified by emotion")
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="ask only this model (repeatable); NAME@FILE and timm:NETWORK@FILE bring own weights",
    )
    sets = ", ".join(prompts.names())
    add("--prompts", metavar="NAME", help=f"what CLIP models are asked with: {sets}, or a JSON file (default {zoo.DEFAULT_PROMPTS})")
    asked = ", ".join(questions.QUESTIONS)
    add("--question", metavar="NAME", help=f"what models that write are asked: {asked} (default {zoo.DEFAULT_QUESTION})")
    add("--depth", default="standard", choices=tuple(DEPTHS), help="how much is evaluated: quick, standard (default) or full")
    add("--restoration-limit", type=int, metavar="N", help=f"faces predicted after a restoration ({_sizes('variant_limit')})")
    add("--question-faces", type=int, metavar="N", help=f"faces of the question robustness check ({_sizes('question_limit')})")
    add("--changed-faces", type=int, metavar="N", help=f"faces of the metamorphic robustness check ({_sizes('metamorphic_limit')})")
    add("--corrupted-faces", type=int, metavar="N", help=f"faces of the corruption robustness check ({_sizes('corruption_limit')})")
    add("--prompt-examples", type=int, metavar="N", help=f"prompts that the search writes ({_sizes('prompt_search_examples')})")
    add("--measure-costs", action="store_true", help="measure all costs anew, also those stored for this code, model and machine")
    add("--models-from", action="append", default=[], type=Path, metavar="FILE.py", help="add the MODELS and RESTORERS of a Python file (repeatable)")
    add("--device", default="auto", choices=DEVICES, help="where models run (default: the best here)")
    add("--precision", default="auto", choices=("auto", *PRECISIONS), help="arithmetic of the networks (default: each model's own)")
    add("--batch-size", type=int, default=64, metavar="N", help="faces per forward pass (default 64)")
    add("--download", action="store_true", help="allow the data to be fetched from the network")
    add("--update-baselines", action="store_true", help="write what is measured into the baselines file; verdicts are still against the old ones")
    add("--baselines", type=Path, metavar="FILE", help="the baselines file (default: baselines.json in the root folder)")
    add("--store", type=Path, metavar="FOLDER", help="where answers are kept between runs (default: .evals/store in the root folder)")
    add("--from-store-only", action="store_true", help="judge stored answers again; ask no model, and skip what is not stored")
    add("--report-dir", type=Path, metavar="FOLDER", help="where evals.html and evals.json go (default: reports in the root folder)")
    # pytest has a --strict of its own, about configuration and markers: where it does, the word means both (see `strict`).
    with suppress(ValueError):
        add("--strict", action="store_true", help="INCONCLUSIVE and NEW verdicts fail too")


def strict(config: pytest.Config) -> bool:
    """Whether --strict was given: as our option, or as pytest's own, which sets an ini value (also where xdist hands options on)."""
    return config.getoption("strict", False) is True or "strict=true" in (config.getoption("override_ini", None) or ())


def read(config: pytest.Config) -> Options:
    """What the user asked of a run.

    Raises:
        UsageError: an option cannot work.
    """
    option = config.getoption
    if option("--update-baselines") and (option("--limit") is not None or option("--depth") == "quick"):
        raise UsageError("--update-baselines records whole splits only. Leave --limit and --depth quick out.")
    if option("--batch-size") < 1:
        raise UsageError(f"--batch-size must be at least 1, got {option('--batch-size')}.")
    sizes: dict[str, Any] = {field: option(name) for name, field in _SIZES.items() if option(name) is not None}
    for name, field in _SIZES.items():
        if sizes.get(field, 1) < 1:
            raise UsageError(f"{name} must be at least 1, got {sizes[field]}.")
    return Options(
        dataset=option("--dataset"),
        data_root=option("--data-root"),
        split=option("--split"),
        limit=option("--limit"),
        corruption=Corruption.parse(option("--corruption")) if option("--corruption") else None,
        runtime=Runtime(option("--device"), option("--precision"), option("--download")),
        batch_size=option("--batch-size"),
        store=option("--store") or config.rootpath / ".evals" / "store",
        baselines=option("--baselines") or config.rootpath / "baselines.json",
        from_store_only=option("--from-store-only"),
        depth=replace(DEPTHS[option("--depth")], **sizes),
        measure_costs=option("--measure-costs") or any(config.getoption(name, None) for name in _KEEPS_BENCHMARKS),
        whole_variants=option("--update-baselines"),
        named_models=bool(option("--model")),
    )
