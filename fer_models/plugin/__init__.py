"""The pytest side: options, hooks and fixtures. It computes nothing; `evaluation` does.

The root `conftest.py` names this plugin; other suites opt in with `-p fer_models.plugin`.
"""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fer_models.artifacts import resources
from fer_models.artifacts.device import paused_garbage_collection
from fer_models.datasets import synthetic
from fer_models.errors import DatasetError, FerModelsError, UsageError
from fer_models.plugin import html_report, keywords, options, report_files
from fer_models.plugin.session import chosen, known_state, parameters, show_header, state_of
from fer_models.third_party_code import kept_alive

if TYPE_CHECKING:
    from fer_models.evaluation import Requested  # noqa: F401 (in a string)

pytest_plugins = ["fer_models.plugin.parametrized", "fer_models.plugin.fixtures"]
pytest.register_assert_rewrite(resources.EVALS_MODULE)  # also where a suite imports packaged tests


#: An error of the command line that was noticed while tests were collected. No test runs then, and pytest
#: ends with code 4. Raised there, it would be an internal error: pytest finishes the collection first.
_USAGE_ERROR = pytest.StashKey[str]()
#: The same, as a worker hands it over.
_REFUSED = "fer_models_refused"
#: Names of our tests that were collected, selected or not: what `-k` can match.
_TEST_NAMES = pytest.StashKey[set[str]]()
#: What the user's selection of tests requests of the gate.
_REQUESTED = pytest.StashKey["Requested"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line contract."""
    options.add(parser)


def _is_evals_run(config: pytest.Config) -> bool:
    """Whether the command line names the evals, so that everything can be checked before the first test.

    A suite of one's own is recognised later, by the fixtures that its tests use.
    """
    evals = {resources.evals_dir(), config.rootpath / "evals"}
    paths = [Path(config.invocation_params.dir, str(a).split("::")[0]).resolve() for a in config.args]
    return _names_installed_evals(config) or any(p in evals or not evals.isdisjoint(p.parents) for p in paths)


def _names_installed_evals(config: pytest.Config) -> bool:
    """Whether the command line names the evals of an installed package, by module name or by path."""
    names, module = [str(a).split("::")[0] for a in config.args], resources.EVALS_MODULE
    if config.getoption("pyargs") and any(name == module or name.startswith(f"{module}.") for name in names):
        return True
    evals = resources.evals_dir()
    paths = [Path(config.invocation_params.dir, name).resolve() for name in names]
    return resources.is_installed() and any(evals in (p, *p.parents) for p in paths)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Of several processes (`-n`) each uses its share of the cores. The first test of ours starts the page.

    The evals of an installed package belong to no root folder: their files go to the current folder.
    """
    if config.getoption("--work-dir") is None and _names_installed_evals(config):
        config.option.work_dir = config.invocation_params.dir
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        # OpenMP's threads wait for each other busily: with more of them than cores a network takes several
        # times its own time. torch, which is imported with the first model, reads this.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    if _is_evals_run(config) and getattr(config.option, "htmlpath", None):
        config.option.self_contained_html = True
    if html_report.wanted(config):
        config.pluginmanager.register(html_report.PageStarter(config))
    config.pluginmanager.register(html_report.PageErrors())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Everything a user can get wrong on the command line is found before the first test."""
    try:
        options.check(session.config)
        if _is_evals_run(session.config):
            show_header(session.config)
            if not session.config.option.collectonly:
                report_files.require_writable(session.config)
            chosen(session.config)
            _load_faces(session.config)
        elif getattr(session.config.option, "numprocesses", None):  # workers cannot report a usage error
            report_files.require_writable(session.config)
            chosen(session.config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def _load_faces(config: pytest.Config) -> None:
    """Load the faces, and print what a user must know of them.

    Raises:
        UsageError: there are no such faces.
    """
    waits = config.getoption("--dataset") == "synthetic" and synthetic.draw_ahead(
        config.getoption("--split") or "test"
    )
    with paused_garbage_collection():
        state = state_of(config)
        if waits:  # other processes draw the faces of a first run: import what its models need meanwhile
            from fer_models.classifiers import clip, cnn  # noqa: F401
    gc.freeze()  # what was imported lives to the end: a collection that went through it would take a quarter of a second
    try:
        if not config.option.collectonly:
            state.suite.data.check_readable()
        assert state.suite.data.faces is not None
    except DatasetError as error:
        if not config.option.collectonly:
            try:
                state.refuse(error)
            except (FerModelsError, OSError) as unwritten:
                raise UsageError(f"{error} The report cannot be written either: {unwritten}") from error
        raise
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(config, "workerinput"):
        for line in (
            *state.notes,
            *(f"{state.suite.data.faces.name}: {n}" for n in state.suite.data.faces.notes),
        ):
            reporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`model` and `restoration` become one test each per registered name."""
    names = set(metafunc.fixturenames)
    if "suite" not in names:  # somebody else's `model`
        return
    config = metafunc.config
    try:
        models, restorations = parameters(config)
    except UsageError as error:  # here it would be one error per test file
        config.stash[_USAGE_ERROR] = str(error)
        return
    if "model" in names:
        metafunc.parametrize("model", models, indirect=True, scope="session")
    if "restoration" in names:
        metafunc.parametrize("restoration", restorations, indirect=True, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A warning in somebody's model is shown, and fails no verdict, however strict the suite's own settings
    are.
    """
    if "suite" in getattr(item, "fixturenames", ()):
        names = item.config.stash.setdefault(_TEST_NAMES, set())
        names |= {getattr(item, "originalname", item.name), item.path.stem}
        item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what does not apply, what the depth leaves out, and all but one test of what is not on this
    machine.
    """
    if _USAGE_ERROR in config.stash:
        items.clear()
        return
    ours = [i for i in items if isinstance(i, pytest.Function) and "suite" in i.fixturenames]
    if not ours:
        return
    if not _is_evals_run(config) and not config.option.collectonly:
        try:
            report_files.require_writable(config)
            _load_faces(config)
        except (UsageError, pytest.UsageError) as error:
            config.stash[_USAGE_ERROR] = str(error)
            items.clear()
            return
    from fer_models.plugin import selection

    config.stash[_REQUESTED] = selection.requested(ours, config)
    if gone := selection.deselected(state_of(config), ours):
        config.hook.pytest_deselected(items=[item for item in items if item in gone])
        items[:] = [item for item in items if item not in gone]


def pytest_collection_finish(session: pytest.Session) -> None:
    """The subjects that the selected tests gate are judged together. The expected time is printed before the
    first test.

    The report of an earlier run is removed, before anything calls a model: a run that is killed leaves no
    verdict rather than an old one.
    """
    ours = [i for i in session.items if isinstance(i, pytest.Function) and "suite" in i.fixturenames]
    if not ours or session.config.option.collectonly:
        return
    from fer_models.plugin import selection

    report_files.remove(session.config)
    state = state_of(session.config)
    worker = getattr(session.config, "workerinput", {}).get("workerid", "gw0")
    requested, start = session.config.stash[_REQUESTED], int(worker.removeprefix("gw"))
    state.suite.select(selection.predicted_pairs(ours), requested, start=start)
    state.suite.robustness.select(selection.robustness_checks(ours), start=start)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        reporter.write_line(selection.expected_time(state, ours), flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """While tests run, nothing that a model started (a thread, a timer) ends the process as a success."""
    with kept_alive() if known_state(session.config) is not None else nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Our own errors are complete sentences: show them without a traceback."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if call.excinfo is not None and isinstance(call.excinfo.value, FerModelsError):
        report.longrepr = str(call.excinfo.value)
    if "suite" in getattr(item, "fixturenames", ()):
        setattr(report, html_report.MARK, True)
    return report  # type: ignore[return-value]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker hands over what it measured."""
    output = getattr(node, "workeroutput", {})
    if _REFUSED in output:
        node.config.stash[_USAGE_ERROR] = output[_REFUSED]
    elif "fer_models" in output:
        state_of(node.config, announce=False).merge_worker_output(output["fer_models"])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write evals.json (before pytest-html writes the page), and the baselines if asked."""
    if _USAGE_ERROR in session.config.stash:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_REFUSED] = session.config.stash[_USAGE_ERROR]
        return
    state = known_state(session.config)
    if state is None or session.config.option.collectonly:
        return
    if session.exitstatus == pytest.ExitCode.INTERRUPTED:  # judging now would ask what is still missing
        return
    from fer_models.gate import baselines
    from fer_models.report import report_file

    try:
        state.collect()
        if hasattr(session.config, "workerinput"):
            session.config.workeroutput["fer_models"] = state.to_worker_output()  # type: ignore[attr-defined]
            return
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not state.errors:
            return
        report_file.write_report(state.report(), state.report_dir / "evals.json")
        if state.records:
            baselines.update(state.suite.options.baselines, state.records.values(), state.suite.baselines)
    except (FerModelsError, OSError) as error:
        state.errors["the report"] = str(error)
    # A failed verdict on the page fails the run, also where no selected test asserts it.
    if session.exitstatus == pytest.ExitCode.OK and (state.failures() or state.errors):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        state.is_failed_by_page = True


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """The leaderboard, the skips with their commands, and where the page lies; suggestions for `-k`."""
    if _USAGE_ERROR in config.stash:
        terminalreporter.write_line(f"ERROR: {config.stash[_USAGE_ERROR]}", red=True)
        return
    ours = _TEST_NAMES in config.stash or _is_evals_run(config)
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.option.keyword and ours:
        _, restorers, _, models = chosen(config)
        names = {*models.names, *restorers.names, *config.stash.get(_TEST_NAMES, set())}
        for line in keywords.suggestions(config.option.keyword, names):
            terminalreporter.write_line(line)
    state = known_state(config)
    if state is None or hasattr(config, "workerinput"):
        return
    if not (state.results or state.skipped or state.errors or state.sections["prompts"]):
        return
    from rich.console import Console

    from fer_models.report import robustness, tables

    report = state.report()
    terminalreporter.section("fer-models")
    if state.results:
        text, colour = io.StringIO(), terminalreporter._tw.hasmarkup
        width = max(terminalreporter._tw.fullwidth, 100)
        Console(
            file=text, width=width, force_terminal=colour, color_system="standard" if colour else None
        ).print(tables.leaderboard(report))
        terminalreporter.write_line(text.getvalue().rstrip())
    errors = [f"error: {message}" for message in state.errors.values()]
    if state.is_failed_by_page:
        errors += [
            f"failed, although no selected test asserts it: {message}"
            for message in state.failures().values()
        ]
    found = (*robustness.lines(report), *tables.prompts(report), *tables.restorations(report))
    for line in (*found, *tables.skips(report), *errors, *tables.left_out(report)):
        terminalreporter.write_line(line)
    if state.left_out:
        named = ", ".join(state.left_out[:3]) + (", …" if len(state.left_out) > 3 else "")
        terminalreporter.write_line(
            f"recorded, and left out of this run by -k, --model or --depth: {len(state.left_out)} ({named})"
        )
    baselines = state.suite.options.baselines
    if state.suite.options.baselines_source != baselines:
        terminalreporter.write_line(f"baselines: those of the package, because there is no {baselines}")
    if state.update and state.records:
        terminalreporter.write_line(
            f"recorded {len(state.records)} subject(s) in {state.suite.options.baselines}: review the diff before you commit it"
        )
    terminalreporter.write_line(
        f"page: {config.getoption('htmlpath', None) or 'none'}   numbers: {state.report_dir / 'evals.json'}"
    )


@pytest.hookimpl(tryfirst=True)  # pytest collects garbage several times after that
def pytest_unconfigure(config: pytest.Config) -> None:
    """The process ends now: spare it the garbage collection of all that torch and others imported, which
    takes more than a second.
    """
    if known_state(config) is not None:
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report: Any) -> None:
    """The page's title."""
    report.title = "fer-models: evaluation of facial emotion recognition models"


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(
    prefix: list[str], summary: list[str], postfix: list[str], session: pytest.Session
) -> None:
    """The deliverable stands at the top of the page."""
    state = known_state(session.config)
    if state is not None and (
        state.results or state.sections["prompts"] or state.skipped or state.suite.data.audit_result
    ):
        from fer_models.report import html_report as page

        prefix.append(page.summary_html(state.report()))
