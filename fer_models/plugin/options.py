"""The command line contract of the evals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from fer_models import resources, zoo
from fer_models.classifiers import prompts, questions
from fer_models.errors import UsageError
from fer_models.evaluation.options import Options
from fer_models.registry import DEVICES, PRECISIONS, Runtime


def add(parser: pytest.Parser) -> None:
    """Every option of a run."""
    group = parser.getgroup("fer-models", "fer-models: facial emotion models put to the question")
    add = group.addoption
    add("--dataset", default="synthetic", metavar="NAME", help="synthetic (default), fer2013, or the path of a class-folder dataset")
    add("--data-root", type=Path, metavar="FOLDER", help="where the dataset lies")
    add("--split", metavar="NAME", help="which split (fer2013: train, public_test, private_test, test; default public_test)")
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
    add("--prompts", metavar="NAME", help=f"what CLIP models are asked with: {sets}, or a JSON file (default {zoo.DEFAULT_PROMPTS})")
    asked = ", ".join(questions.QUESTIONS)
    add("--question", metavar="NAME", help=f"what models that write are asked: {asked} (default {zoo.DEFAULT_QUESTION})")
    add("--question-faces", type=int, default=70, metavar="N", help="faces that models which write are asked about in all ways to ask (default 70)")
    add("--changed-faces", type=int, default=70, metavar="N", help="faces that each model is asked about after small changes (default 70)")
    add("--corrupted-faces", type=int, default=21, metavar="N", help="faces that each model is asked about after every corruption (default 21)")
    add("--prompt-examples", type=int, default=200, metavar="N", help="prompts that the search for the worst one may write (default 200)")
    add("--models-from", action="append", default=[], type=Path, metavar="FILE.py", help="add the MODELS and RESTORERS of a Python file (repeatable)")
    add("--device", default="auto", choices=DEVICES, help="where models run (default: the best here)")
    add("--precision", default="auto", choices=("auto", *PRECISIONS), help="arithmetic of the networks (default: each model's own)")
    add("--batch-size", type=int, default=64, metavar="N", help="faces per forward pass (default 64)")
    add("--download", action="store_true", help="allow the data to be fetched from the network")
    add("--update-baselines", action="store_true", help="write what is measured into the baselines file; verdicts are still against the old ones")
    work_folder = "folder of baselines.json, reports and .evals (default: pytest's root folder)"
    add("--work-dir", type=Path, metavar="FOLDER", help=work_folder)
    baselines = "the baselines file (default: baselines.json in the work folder, else the packaged one)"
    add("--baselines", type=Path, metavar="FILE", help=baselines)
    store = "where answers are kept between runs (default: .evals/store in the work folder)"
    add("--store", type=Path, metavar="FOLDER", help=store)
    add("--from-store-only", action="store_true", help="judge stored answers again; ask no model, and skip what is not stored")
    reports = "where evals.html and evals.json go (default: reports in the work folder)"
    add("--report-dir", type=Path, metavar="FOLDER", help=reports)
    # pytest has a --strict of its own, about configuration and markers: where it does, the word means both (see `strict`).
    with suppress(ValueError):
        add("--strict", action="store_true", help="INCONCLUSIVE and NEW verdicts fail too")


def strict(config: pytest.Config) -> bool:
    """Whether --strict was given: as our option, or as pytest's own, which sets an ini value (also where xdist hands options on)."""
    return config.getoption("strict", False) is True or "strict=true" in (config.getoption("override_ini", None) or ())


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
    if option("--update-baselines") and option("--limit") is not None:
        raise UsageError("--update-baselines records whole splits only. Leave --limit out.")
    if option("--batch-size") < 1:
        raise UsageError(f"--batch-size must be at least 1, got {option('--batch-size')}.")
    for least_one in ("--prompt-examples", "--question-faces", "--changed-faces", "--corrupted-faces"):
        if option(least_one) < 1:
            raise UsageError(f"{least_one} must be at least 1, got {option(least_one)}.")


def read(config: pytest.Config) -> Options:
    """What the user asked of a run.

    Raises:
        UsageError: an option cannot work.
    """
    from fer_models.corruptions import Corruption

    check(config)
    option = config.getoption
    return Options(
        dataset=option("--dataset"),
        data_root=option("--data-root"),
        split=option("--split"),
        limit=option("--limit"),
        corruption=Corruption.parse(option("--corruption")) if option("--corruption") else None,
        runtime=Runtime(option("--device"), option("--precision"), option("--download")),
        batch_size=option("--batch-size"),
        store=option("--store") or work_dir(config) / ".evals" / "store",
        baselines=option("--baselines") or work_dir(config) / "baselines.json",
        shipped_baselines=None if option("--baselines") else resources.shipped_baselines(),
        from_store_only=option("--from-store-only"),
        prompt_examples=option("--prompt-examples"),
        question_faces=option("--question-faces"),
        changed_faces=option("--changed-faces"),
        corrupted_faces=option("--corrupted-faces"),
    )
