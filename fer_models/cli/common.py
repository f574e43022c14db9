"""Shared parts of the commands: exit codes, options, the console."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fer_models.artifacts.object_storage import store_path
from fer_models.errors import UsageError

if TYPE_CHECKING:
    from fer_models.datasets.base import FaceSet
    from fer_models.inference.runner import Runner
    from fer_models.zoo.spec import ModelSpec

USAGE_CODE = 4  # as pytest's
VERDICT_CODE = 1
#: The name of standard output among files.
STANDARD_OUTPUT = Path("-")

#: The first line of the examples in a help.
_EXAMPLES = "examples:"
#: Where commands add their parsers.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, text: str, examples: Sequence[str] = (), **settings: Any
) -> argparse.ArgumentParser:
    """Add the parser of a command.

    Args:
        commands: where it is added.
        name: the name of the command.
        text: its line in the list of commands, and the head of its help.
        examples: complete command lines, for the end of its help.
        settings: those of the parser.
    """
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog(examples),
        formatter_class=HelpFormatter,
        **settings,
    )


class HelpFormatter(argparse.HelpFormatter):
    """Formatter that wraps descriptions, and keeps the lines of examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_EXAMPLES):
            return "\n".join(f"{indent}{line}" for line in text.split("\n"))
        return super()._fill_text(text, width, indent)


def epilog(examples: Sequence[str]) -> str | None:
    """The end of a help: examples, one per line."""
    return "\n".join([_EXAMPLES, *(f"  {example}" for example in examples)]) if examples else None


def data_options(parser: argparse.ArgumentParser, default: str = "synthetic") -> None:
    """Add the options of a dataset, with the names of `pytest evals`."""
    others = "fer2013" if default == "synthetic" else "synthetic"
    dataset_help = f"{default} (default), {others}, or a class-folder dataset"
    parser.add_argument("--dataset", default=default, metavar="NAME", help=dataset_help)
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="the folder of the dataset")
    scheme_option(parser)
    parser.add_argument("--download", action="store_true", help="allow downloading the dataset")


def scheme_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for numbered class folders.

    The names are those of `datasets.schemes`, which is not imported for a help text.
    """
    names = "affectnet, ck+, fer2013, fer2013-alphabetical, ferplus, raf-db"
    scheme_help = f"the meaning of numbered class folders: {names}, or a JSON file"
    parser.add_argument("--label-scheme", metavar="NAME", help=scheme_help)


def load_faces(args: argparse.Namespace, split: str) -> FaceSet:
    """Load one split of the dataset in the options. Raises as `datasets.load`."""
    from fer_models import datasets

    return datasets.load(
        args.dataset, split, args.data_root, download=args.download, label_scheme=args.label_scheme
    )


def output_option(parser: argparse.ArgumentParser, default: str = "standard output") -> None:
    """Add the option for the file that a command writes; `-` is standard output."""
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"the file (default: {default})")


def write_output(text: str, path: Path | None) -> None:
    """Write a text to a file in UTF-8, or to standard output for None and `-`. The folder is made.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None or path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    from fer_models.artifacts.atomic_write import atomic_write

    with writable(path):
        if path.exists() and not path.is_file():  # such as /dev/stderr; a folder is an error
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def writable(path: Path, kind: str = "FILE") -> Iterator[None]:
    """Raise UsageError where the FILE or FOLDER at `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror or error}). Choose another: --output {kind}"
        ) from error


def make_output_folder(path: Path) -> None:
    """Make the folder that a command writes into.

    Raises:
        UsageError: it cannot be made or written into.
    """
    with writable(path, "FOLDER"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass


def model_file_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the user's own models."""
    parser.add_argument(
        "--model-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.py",
        help="add the models and restorations of a Python file (repeatable)",
    )


def format_option(
    parser: argparse.ArgumentParser, *others: str, default: str = "text", note: str = ""
) -> None:
    """Add the option for the format of the output: text, json, and others; `note` ends its help text."""
    formats = ("text", *others, "json")
    help_text = f"{', '.join(formats[:-1])} or json (default: text){note}"
    parser.add_argument("--format", choices=formats, default=default, help=help_text)


def device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device of the networks.

    The names are those of `zoo.spec.DEVICES`, which is not imported for a help text.
    """
    choices = ("auto", "cpu", "cuda", "mps")
    parser.add_argument(
        "--device", default="auto", choices=choices, help="device of the networks (default: auto)"
    )


def fitting_options(parser: argparse.ArgumentParser, output: str, store: str) -> None:
    """Add the options of a command that fits weights to what models compute for a dataset.

    Args:
        parser: the command's parser.
        output: what is fitted, for the help text.
        store: what `--store` is used for, for the help text.
    """
    data_options(parser, default="fer2013")
    model_file_option(parser)
    default = Path(".evals/store")
    store_help = f"{store} (default: {default})"
    parser.add_argument("--store", type=store_path, default=default, metavar="FOLDER", help=store_help)
    output_help = f"folder of the fitted {output} (default: the user's weights folder)"
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=output_help)
    device_option(parser)


def fitting_runner(
    args: argparse.Namespace, split: str, models: Sequence[ModelSpec], limit: int | None = None
) -> Runner:
    """Make a runner over one split from `fitting_options`."""
    from fer_models.config import EvalConfig
    from fer_models.inference.runner import Runner
    from fer_models.zoo import restorers
    from fer_models.zoo.registry import Registry
    from fer_models.zoo.spec import Runtime

    options = EvalConfig(
        args.dataset,
        args.data_root,
        split,
        limit,
        Runtime(args.device, download=args.download),
        store=args.store,
        label_scheme=args.label_scheme,
    )
    return Runner(options, Registry("model", *models), restorers.RESTORERS)


def console() -> Any:
    """Make a rich console that takes names as they are, and wraps only tables, outside a terminal at 160."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(width=width, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def training_progress(title: str, screen: Any) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """A progress bar for a training session; one line per epoch where the output is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[metrics]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task(title, total=1, metrics="")

        def show(epoch: str, step: int, steps: int, metrics: dict[str, float]) -> None:
            text = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            bar.update(task, description=epoch, completed=step, total=steps, metrics=text)
            if step == steps and not screen.is_terminal:
                screen.print(f"{epoch}: {text or 'done'}")

        yield show
