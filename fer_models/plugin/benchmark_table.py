"""A compact table of the measured costs, in place of pytest-benchmark's, which is too wide for a terminal.

Only the table in the terminal is replaced. A run with one of the options that change this table, or that
compares times, has pytest-benchmark's own one; files and comparisons are always pytest-benchmark's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from rich.text import Text

from fer_models.report.formatting import NOTHING, one_line, rate, seconds
from fer_models.report.terminal_table import MIN_WIDTH, Row, TerminalTable

#: Options of pytest-benchmark about its table.
_DISPLAY_OPTIONS = tuple(
    f"--benchmark-{name}"
    for name in (
        *("columns", "sort", "group-by", "name", "time-unit"),
        *("compare", "histogram", "cprofile", "verbose", "quiet"),
    )
)
_HEADINGS = (" median", " IQR", " faces/s")


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark writes its table
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the table, if all benchmarks of the run are costs of the evals."""
    session: Any = config.pluginmanager.get_plugin("pytest-benchmark")
    groups = getattr(session, "groups", None)
    if not groups or any(argument.startswith(_DISPLAY_OPTIONS) for argument in _arguments(config)):
        return
    benchmarks = [benchmark for _, members in groups for benchmark in members]
    if not all("images_per_second" in benchmark["extra_info"] for benchmark in benchmarks):
        return  # those of a suite of the user's own
    session.groups = None  # pytest-benchmark writes no table then
    terminalreporter.section("measured costs")
    from fer_models.plugin.terminal import rendered

    terminalreporter.write_line(rendered(terminalreporter, table(benchmarks, terminalreporter._tw.fullwidth)))


def _arguments(config: pytest.Config) -> list[str]:
    """All arguments of pytest, from the command line, the environment and the configuration.

    The values of options cannot tell whether they were given: defaults differ between versions.
    """
    environment = os.environ.get("PYTEST_ADDOPTS", "").split()
    return [*map(str, config.invocation_params.args), *environment, *config.getini("addopts")]


def table(benchmarks: Sequence[Mapping[str, Any]], width: int = MIN_WIDTH) -> Iterator[Text]:
    """The lines of the table: median and interquartile range of the times of a step, and faces per second.

    Args:
        benchmarks: as pytest-benchmark groups them, with the `extra_info` of `evals/test_cost.py`.
        width: that of the terminal, in columns.
    """
    sections: dict[str, list[Row]] = {}
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        phase, faces = one_line(info.get("phase", NOTHING)), info.get("batch", 1)
        title = f"{phase}, {faces} faces" if faces > 1 else phase
        name = one_line(info.get("model") or info.get("restoration") or benchmark["name"])
        times = (seconds(benchmark["median"]), seconds(benchmark["iqr"]), rate(info["images_per_second"]))
        sections.setdefault(title, []).append(Row(Text(name), tuple(map(Text, times))))
    return TerminalTable("step", _HEADINGS, sections, max(width, MIN_WIDTH)).lines()
