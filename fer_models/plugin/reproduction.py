"""Commands that evaluate one subject of a run again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from fer_models.inference.runner import Combination
from fer_models.plugin import options
from fer_models.report.selection import is_searchable, keyword_expression

#: Options that do not change a result, or that the command sets itself.
_LEFT_OUT = frozenset(
    {"--update-baselines", "--measure-costs", "--report-dir", "--work-dir", "--cached-only", "--batch-size"}
)


def command(config: pytest.Config, combination: Combination) -> str:
    """Write the command that judges one combination with the options of this run.

    It works in a clone and with an installed package.
    """
    words = ["fer-models", "eval", *_options(config, combination)]
    folder, here = options.work_dir(config).resolve(), config.invocation_params.dir.resolve()
    # `fer-models eval` works in the current folder. A path outside of it is not for pages and cards.
    if folder != here and folder.is_relative_to(here):
        words += ["--work-dir", folder.relative_to(here).as_posix()]
    return shlex.join([*words, "-k", keyword_expression(str(combination))])


def _options(config: pytest.Config, combination: Combination) -> list[str]:
    """The options of the plugin that differ from their defaults."""
    words: list[str] = []
    for name, settings in options.all_options().items():
        value: Any = config.getoption(name)
        if name in _LEFT_OUT or value == settings.get("default", False if "action" in settings else None):
            continue
        # A file keeps its path: a model's name has only the name of its file.
        if name == "--model" and combination.model in value and not is_searchable(str(combination)):
            value = [combination.model]
        if isinstance(value, bool):
            words.append(name)
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [name, str(one)]
    return words
