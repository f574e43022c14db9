"""The state of a pytest session, created at first use, and the first line of output."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_models import __version__
from fer_models.errors import BaselinesError, FerModelsError, UsageError
from fer_models.plugin import options
from fer_models.zoo import resolve
from fer_models.zoo.model_name import ModelName, Source
from fer_models.zoo.models import FASTEST, MODELS
from fer_models.zoo.restorers import RAW

if TYPE_CHECKING:
    from fer_models.plugin.state import State

_STATE = pytest.StashKey["State"]()
_HEADER_SHOWN = pytest.StashKey[bool]()
_CHOSEN = pytest.StashKey["resolve.Chosen"]()


def header(config: pytest.Config) -> str:
    """First line of output: what this run evaluates, from the options alone."""
    option = config.getoption
    dataset = option("--dataset") + (f"/{option('--split')}" if option("--split") else "")
    model_names = [
        Path(name).name if ModelName.parse(name).source is Source.PYTHON_FILE else name
        for name in option("--model")
    ]
    every = "all models" if options.depth_of(config).zoo_models is None else "the fastest models"
    models = ", ".join(model_names) or every
    faces = f", {option('--limit')} faces" if option("--limit") is not None else ""
    keyword = f" (-k {config.option.keyword!r})" if config.option.keyword else ""
    evaluated = f"evaluating {models} on {dataset}{faces}{keyword}"
    return f"fer-models {__version__}: {evaluated}, depth {option('--depth')}"


def show_header(config: pytest.Config) -> None:
    """Print `header` once per run, before the heavy imports; not in a worker process."""
    if hasattr(config, "workerinput") or config.stash.get(_HEADER_SHOWN, False):
        return
    config.stash[_HEADER_SHOWN] = True
    capture = config.pluginmanager.get_plugin("capturemanager")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
        reporter.ensure_newline()
        reporter.write_line(header(config), flush=True)


def chosen(config: pytest.Config) -> resolve.Chosen:
    """The models and restorers of the run; files of models are executed once.

    Without `--model` these are all known models, and those that have a baseline for the run's faces and can
    be made from known ones (such as the fusion `vgg19+clip-nano`).

    Raises:
        UsageError: an unknown name, a file that cannot be used, or baselines that cannot be read.
    """
    if _CHOSEN not in config.stash:
        selected = resolve.selected_models(config.getoption("--model"), config.getoption("--model-file"))
        if not config.getoption("--model") and options.depth_of(config).zoo_models is None:
            selected = (*selected[:3], resolve.with_recorded(selected[3], _recorded_models(config)))
        config.stash[_CHOSEN] = selected
    return config.stash[_CHOSEN]


def _recorded_models(config: pytest.Config) -> list[str]:
    """The models that have a baseline for the dataset and split of the run, by name."""
    from fer_models import datasets
    from fer_models.gate import baselines

    dataset, root = config.getoption("--dataset"), config.getoption("--data-root")
    try:
        split = config.getoption("--split") or datasets.default_split(dataset, root)
        named = datasets.recorded_names(dataset, split, root)
        recorded = baselines.read(options.read(config).baselines_source)
    except BaselinesError as error:
        raise UsageError(str(error)) from error
    except FerModelsError:  # the dataset cannot be used: its loading says so
        return []
    return list(dict.fromkeys(r.model for r in recorded.measured if (r.dataset, r.split) == named))


def parameters(config: pytest.Config) -> tuple[list[str], list[str]]:
    """The models and restorations that tests are collected for: all, or those that the depth evaluates.

    A depth with `zoo_models` evaluates the fastest of the zoo, every model of the user's own, and every model
    that `--model` or `-k` names.

    Raises:
        UsageError: as `chosen`.
    """
    _, restorers, _, models = chosen(config)
    depth, keyword = options.depth_of(config), config.option.keyword or ""
    if depth.zoo_models is None or config.getoption("--model"):
        names_of_models = models.names
    else:
        fastest = [name for name in FASTEST if name in models][: depth.zoo_models]
        shipped = [m.name for m in models if m.name in MODELS and MODELS[m.name] is m]
        named = [word.lower() for word in re.findall(r"[^\s()]{3,}", keyword) if word not in ("and", "not")]
        names_of_models = [
            name
            for name in models.names
            if name in fastest or name not in shipped or any(_names(word, name.lower()) for word in named)
        ]
    return names_of_models, restorers.names if depth.checks else [RAW.name]


def _names(word: str, name: str) -> bool:
    """Whether a word of `-k` is a part of a model's name, perhaps with the restoration: `raw` names none."""
    return word in name or (word in f"{name}-{RAW.name}" and word not in f"-{RAW.name}")


def runs_no_test(config: pytest.Config) -> bool:
    """Whether pytest only shows something: the collected tests, the fixtures, their order, its cache."""
    names = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly", "setupplan", "cacheshow")
    return any(getattr(config.option, name, False) for name in names)


def state_of(config: pytest.Config, *, announce: bool = True) -> State:
    """The state of the run, created at first use, after the first line of output.

    Raises:
        pytest.UsageError: an option cannot work; pytest ends with code 4.
    """
    if _STATE not in config.stash:
        if announce:
            show_header(config)
        from fer_models.plugin.state import State

        try:
            config.stash[_STATE] = State(config)
        except (UsageError, BaselinesError) as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_STATE]


def known_state(config: pytest.Config) -> State | None:
    """The state of the run, or None if nothing used it."""
    return config.stash.get(_STATE, None)
