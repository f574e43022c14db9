"""The command line contract of the evals."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_models import corruptions, zoo
from fer_models.classifiers import prompts, questions
from fer_models.corruptions import Corruption
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
    add("--baselines", type=Path, metavar="FILE", help="the baselines file (default: baselines.json in the root folder)")
    add("--store", type=Path, metavar="FOLDER", help="where answers are kept between runs (default: .evals/store in the root folder)")
    add("--from-store-only", action="store_true", help="judge stored answers again; ask no model, and skip what is not stored")
    add("--report-dir", type=Path, metavar="FOLDER", help="where evals.html and evals.json go (default: reports in the root folder)")
    add("--strict-gate", action="store_true", help="the verdicts INCONCLUSIVE, NEW and DRIFT fail too")


def read(config: pytest.Config) -> Options:
    """What the user asked of a run.

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
        prompt_examples=option("--prompt-examples"),
        question_faces=option("--question-faces"),
        changed_faces=option("--changed-faces"),
        corrupted_faces=option("--corrupted-faces"),
    )
