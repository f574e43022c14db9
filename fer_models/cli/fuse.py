"""`fer-models fuse`: fit the weights of a late fusion to stored predictions of several models."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, add_command, console, fitting_options, fitting_runner, writable

if TYPE_CHECKING:
    from fer_models.classifiers.base import Predictions
    from fer_models.inference.runner import Runner
    from fer_models.store.predictions import PredictionTable
    from fer_models.zoo.spec import ModelSpec


def add(commands: Commands) -> None:
    """Add its parser."""
    help_text = "fit the weights of a late fusion of several models; the fusion is a model NAME+NAME"
    example = "fer-models fuse vgg19 resnet50 --dataset fer2013 --data-root FOLDER"
    parser = add_command(commands, "fuse", help_text, (example,))
    models_help = "two or more names from `fer-models list`, with +tta if wanted"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=models_help)
    fitting_options(parser, "weights", store="folder of stored predictions")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the validation split, and print the scores there."""
    components = _components(args)
    name = _fusion_name(components)
    require_new(f"{name}.json", args.output)
    exponents, path = fit_exponents(args, components, name)
    text = ", ".join(f"{m.name} {e:.3f}" for m, e in zip(components, exponents, strict=True))
    console().print(f"exponents {text}: {path}")
    print_next_step(args, name, path)
    return 0


def fit_exponents(
    args: argparse.Namespace, components: list[ModelSpec], name: str
) -> tuple[tuple[float, ...], Path]:
    """Fit the exponents of a pool on the validation split, print the scores there, and write the file.

    Args:
        args: those of `fitting_options`.
        components: the models.
        name: of the model that pools them.

    Returns:
        the exponents, and the file.

    Raises:
        DatasetError: no exponent is above 0.
        UsageError: a model has no probabilities.
    """
    from fer_models import datasets
    from fer_models.artifacts import weights
    from fer_models.classifiers import fusion
    from fer_models.errors import DatasetError, UsageError
    from fer_models.zoo.derived_models import component_hash

    checksums = tuple(component_hash(model) for model in components)
    validation = datasets.validation_split(args.dataset, args.data_root)
    runner = fitting_runner(args, validation, components)
    tables = _predict(runner, components)
    truth, predictions = tables[0].truth, [table.to_predictions() for table in tables]
    for model, each in zip(components, predictions, strict=True):
        if not each.has_probabilities:
            raise UsageError(
                f"{model.name} predicts without probabilities, so there is nothing to fit. "
                "A vision-language model has some with +likelihood."
            )
    exponents = fusion.fit(predictions, truth)
    if not any(exponents):
        names = " and ".join(model.name for model in components)
        raise DatasetError(
            f"The probabilities of {names} do not depend on the label of these faces: nothing can be fitted. "
            "Check labels and input format: pytest evals -k control"
        )
    rows = {model.name: each for model, each in zip(components, predictions, strict=True)}
    rows[name] = fusion.pool(predictions, exponents)
    loss = {row: round(fusion.negative_log_likelihood(each, truth), 4) for row, each in rows.items()}
    faces = runner.data.faces
    fitted_on = {
        "name": faces.name,
        "n": len(faces),
        "fingerprint": faces.fingerprint,
        "negative_log_likelihood": loss,
    }
    path = (args.output or weights.user_weights_dir()) / f"{name}.json"
    with writable(path, "FOLDER"):
        fusion.FusionWeights(tuple(m.name for m in components), exponents, checksums, fitted_on).write(path)
    for row, each in rows.items():
        console().print(f"  {row}: {_scores(each, tables[0])}, {loss[row]:.4f} nats")
    return exponents, path


def print_next_step(args: argparse.Namespace, name: str, path: Path) -> None:
    """Say how to evaluate what was fitted, and not on which faces."""
    console().print(
        f"Evaluate it on other faces than those that it was fitted on: {command_of(args, name, path)}"
    )


def command_of(args: argparse.Namespace, name: str, path: Path) -> str:
    """The command that evaluates a fitted model, or why none does."""
    from fer_models.artifacts import weights

    if weights.is_shipped(path.name):
        return f"`pytest evals` uses the shipped {path.name}"
    words = ["fer-models", "eval", "--model", name, "--dataset", args.dataset]
    words += ["--split", _other_split(args)]
    for option, values in (
        ("--data-root", [args.data_root]),
        ("--label-scheme", [args.label_scheme]),
        ("--model-file", args.model_file),
    ):
        for value in values:
            words += [] if value is None else [option, str(value)]
    words += ["--download"] if args.download else []
    place = "" if args.output is None else f"FER_MODELS_WEIGHTS={shlex.quote(str(path.parent))} "
    return place + shlex.join(words)


def _other_split(args: argparse.Namespace) -> str:
    """The test split, or `SPLIT`, to be filled in, where the dataset has none."""
    from fer_models import datasets
    from fer_models.errors import UsageError

    try:
        return datasets.evaluation_split(args.dataset, args.data_root)
    except UsageError:
        return "SPLIT"


def _components(args: argparse.Namespace) -> list[ModelSpec]:
    """The models to fuse.

    Raises:
        UsageError: they are fewer than two, or one is given twice, is a fusion, or is not given by name.
    """
    from fer_models.errors import UsageError
    from fer_models.zoo import resolve
    from fer_models.zoo.derived_models import is_fitted, require_name

    if len(set(args.models)) < max(2, len(args.models)):
        raise UsageError("A fusion needs two or more different models: fer-models fuse MODEL MODEL")
    available = resolve.available_models(args.model_file)[0]
    components = [resolve.resolve_model(name, available) for name in args.models]
    for model in components:
        if is_fitted(model):
            raise UsageError(
                f"{model.name} has fitted exponents already. Give the models that it is made of."
            )
    require_name(_fusion_name(components))
    return components


def require_new(file: str, output: Path | None) -> None:
    """Check that what is fitted would be used.

    Raises:
        UsageError: a file of that name is shipped, and no other folder is named.
    """
    from fer_models.artifacts import weights
    from fer_models.errors import UsageError

    if output is None and weights.is_shipped(file):
        raise UsageError(
            f"{file} is shipped, and `pytest evals` uses the shipped one. "
            "To fit it again, to compare: --output FOLDER. To use a fit of your own, give the model a name "
            "of your own in a file: --model-file FILE.py"
        )


def _fusion_name(components: list[ModelSpec]) -> str:
    from fer_models.zoo.model_name import ModelName

    return str(ModelName(components=tuple(ModelName.parse(model.name) for model in components)))


def _predict(runner: Runner, components: list[ModelSpec]) -> list[PredictionTable]:
    """The predictions of each model for the faces as they are."""
    from fer_models.inference.runner import Combination

    faces, tables = runner.data.faces, []
    for model in components:
        message = f"{model.name} on {faces.name}: {len(faces)} faces; stored predictions are used"
        console().print(message)
        tables.append(runner.predict(Combination(model.name, "raw")).predictions)
    return tables


def _scores(predictions: Predictions, table: PredictionTable) -> str:
    """Accuracy with its interval, as text."""
    from fer_models.scoring.intervals import wilson_interval

    accuracy = wilson_interval(int((predictions.answer == table.truth).sum()), len(table))
    return f"accuracy {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}]"
