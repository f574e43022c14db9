"""Pytest plugin: options, hooks and fixtures. `fer_models.evaluation` computes.

The root `conftest.py` names this plugin; other suites opt in with `-p fer_models.plugin`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fer_models.artifacts import resources
from fer_models.artifacts.device import paused_garbage_collection
from fer_models.datasets import synthetic
from fer_models.errors import DatasetError, FerModelsError, UsageError
from fer_models.plugin import html_report, keywords, options, report_files
from fer_models.plugin.session import chosen, known_state, parameters, runs_no_test, show_header, state_of
from fer_models.third_party_code import describe_exception, prevent_exit

if TYPE_CHECKING:
    from fer_models.evaluation import Requested
    from fer_models.plugin.state import State

pytest_plugins = [f"fer_models.plugin.{module}" for module in ("parametrized", "fixtures", "benchmark_table")]
pytest.register_assert_rewrite(resources.EVALS_MODULE)  # also where a suite imports packaged tests


#: An error of the command line that was noticed while tests were collected. No test runs then, and pytest
#: ends with code 4. Raised there, it would be an internal error: pytest finishes the collection first.
_USAGE_ERROR = pytest.StashKey[str]()
#: The same, in the output of a worker process.
_REFUSED = "fer_models_refused"
#: Names of our tests that were collected, selected or not: what `-k` can match.
_TEST_NAMES = pytest.StashKey[set[str]]()
#: The tests that we kept and those that we removed from what the user selected.
_KEPT_AND_REMOVED = pytest.StashKey[tuple[list[pytest.Function], list[pytest.Function]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line contract."""
    options.add(parser)


def _is_evals_run(config: pytest.Config) -> bool:
    """Whether the command line names the evals, so that everything can be checked before the first test.

    A suite of the user is recognised later, by the fixtures that its tests use.
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
    """Share the cores among several processes (`-n`), and prepare the page.

    The evals of an installed package belong to no root folder: their files go to the current folder.
    """
    if config.getoption("--work-dir") is None and _names_installed_evals(config):
        config.option.work_dir = config.invocation_params.dir
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        # OpenMP's threads wait for each other busily: with more of them than cores a network takes several
        # times its own time. torch, which is imported with the first model, reads this.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    if getattr(config.option, "htmlpath", None):
        config.option.self_contained_html = True  # the page is one file
    if html_report.wanted(config):
        config.pluginmanager.register(html_report.PageStarter(config))
    config.pluginmanager.register(html_report.PageWriter())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Check the command line before the first test."""
    try:
        options.check(session.config)
        if _is_evals_run(session.config):
            show_header(session.config)
            if not runs_no_test(session.config):
                report_files.require_writable(session.config)
            chosen(session.config)
            _load_faces(session.config)
        elif getattr(session.config.option, "numprocesses", None):  # workers cannot report a usage error
            report_files.require_writable(session.config)
            chosen(session.config)
    except FerModelsError as error:
        raise pytest.UsageError(str(error)) from None


def _load_faces(config: pytest.Config) -> None:
    """Load the faces, and print their notes.

    Raises:
        UsageError: there are no such faces.
    """
    waits = config.getoption("--dataset") == "synthetic" and synthetic.draw_ahead(
        config.getoption("--split") or "test"
    )
    with paused_garbage_collection():
        state = state_of(config)
        if waits:  # other processes render the faces of a first run: import what its models need meanwhile
            from fer_models.classifiers import clip, cnn  # noqa: F401
    gc.freeze()  # imports live to the end: each collection among them would take a quarter of a second
    try:
        if not runs_no_test(config):
            state.evaluation.runner.data.check_readable()
        _ = state.evaluation.runner.data.faces  # read now: its errors end the run
    except DatasetError as error:
        if not runs_no_test(config):
            try:
                state.refuse(error)
            except (FerModelsError, OSError) as unwritten:
                raise UsageError(f"{error} The report cannot be written either: {unwritten}") from error
        raise
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(config, "workerinput"):
        data = state.evaluation.runner.data
        notes = (*data.faces.notes, *data.slices.notes)
        for line in (*state.notes, *(f"{data.faces.name}: {note}" for note in notes)):
            reporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `model` and `restoration` over all names of the run."""
    names = set(metafunc.fixturenames)
    if "evaluation" not in names:  # a `model` of another plugin or suite
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
    """Show warnings in the user's models; strict settings of a suite do not make them errors."""
    if "evaluation" in getattr(item, "fixturenames", ()):
        names = item.config.stash.setdefault(_TEST_NAMES, set())
        names |= {getattr(item, "originalname", item.name), item.path.stem}
        item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that do not apply, that the depth leaves out, or whose missing weights are reported."""
    if _USAGE_ERROR in config.stash:
        items.clear()
        return
    ours = [i for i in items if isinstance(i, pytest.Function) and "evaluation" in i.fixturenames]
    if not ours:
        return
    if not _is_evals_run(config) and not runs_no_test(config):
        try:
            report_files.require_writable(config)
            _load_faces(config)
        except (FerModelsError, pytest.UsageError) as error:
            config.stash[_USAGE_ERROR] = str(error)
            items.clear()
            return
    from fer_models.plugin import selection

    removed = selection.deselected(state_of(config), ours)
    kept = [item for item in ours if item not in removed]
    config.stash[_KEPT_AND_REMOVED] = kept, [item for item in ours if item in removed]
    if removed:
        config.hook.pytest_deselected(items=[item for item in items if item in removed])
        items[:] = [item for item in items if item not in removed]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Select the families that are judged, remove an earlier report, and print the expected time.

    The report is removed before anything calls a model: a run that is killed leaves no verdict.
    """
    ours = [i for i in session.items if isinstance(i, pytest.Function) and "evaluation" in i.fixturenames]
    if not ours or runs_no_test(session.config):
        return
    from fer_models.plugin import selection

    report_files.remove(session.config)
    state = state_of(session.config)
    worker = getattr(session.config, "workerinput", {}).get("workerid", "gw0")
    requested, start = _requested(session.config, ours), int(worker.removeprefix("gw"))
    state.evaluation.select(selection.judged_combinations(ours), requested, start)
    state.evaluation.robustness.judge.select(selection.robustness_checks(ours), start)
    state.evaluation.parity.judge.select(selection.judged_exports(ours), start)
    state.evaluation.effects.select(selection.restored_combinations(ours))
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        reporter.write_line(selection.expected_time(state, ours), flush=True)


def _requested(config: pytest.Config, ours: list[pytest.Function]) -> Requested:
    """What the user's selection requests of the gate: also of the tests that we removed from it.

    A plugin that deselects after us (`--lf` with a named file) has not seen those. Then only what is left is
    requested.
    """
    from fer_models.plugin import selection

    kept, removed = config.stash[_KEPT_AND_REMOVED]
    return selection.requested([*ours, *removed] if len(ours) == len(kept) else ours, config)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """While tests run, nothing that a model started (a thread, a timer) ends the process as a success."""
    with prevent_exit() if known_state(session.config) is not None else nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Our own errors are complete sentences: show them without a traceback."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if call.excinfo is not None and isinstance(call.excinfo.value, FerModelsError):
        report.longrepr = str(call.excinfo.value)
    if "evaluation" in getattr(item, "fixturenames", ()):
        setattr(report, html_report.MARK, True)
    return report  # type: ignore[return-value]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Merge the results of a worker process."""
    output = getattr(node, "workeroutput", {})
    if _REFUSED in output:
        node.config.stash[_USAGE_ERROR] = output[_REFUSED]
    elif "fer_models" in output:
        state_of(node.config, announce=False).merge_worker_output(output["fer_models"])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write evals.json before pytest-html writes the page, and append the run to the history."""
    if _USAGE_ERROR in session.config.stash:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_REFUSED] = session.config.stash[_USAGE_ERROR]
        return
    state = known_state(session.config)
    if state is None or runs_no_test(session.config) or _was_stopped_by_the_user(session, state):
        return  # judging now would predict what is missing
    if session.exitstatus == pytest.ExitCode.INTERRUPTED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workerinput"):
        session.config.workeroutput["fer_models"] = _worker_output(state)  # type: ignore[attr-defined]
        return
    state.collect()
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not state.errors:
        return
    try:
        state.write()
    except (FerModelsError, OSError) as error:
        state.errors["the report"] = str(error)
    # A failed verdict on the page fails the run, also where no selected test asserts it.
    if session.exitstatus == pytest.ExitCode.OK and (state.failures() or state.errors):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if state.is_written:
        state.history.append(int(session.exitstatus))


def _worker_output(state: State) -> str:
    """What a worker measured; where it cannot be sent, an error, without which the run would pass."""
    try:
        state.collect()
        return state.to_worker_output()
    except Exception as error:
        state.errors["a process of -n"] = f"Its results are lost: {describe_exception(error)}"
        return state.errors_to_worker_output()


def _was_stopped_by_the_user(session: pytest.Session, state: State) -> bool:
    """Whether an interrupted run was not stopped after a failure: by `--stepwise`, or by `-x` with `-n`.

    The processes of `-n` send their results only when they end by themselves.
    """
    has_worker_results = getattr(session.config.option, "dist", "no") != "no" and state.results
    is_interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
    return is_interrupted and not session.shouldstop and not has_worker_results


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Write the summary of the run, and suggestions for a `-k` that selects no test."""
    if _USAGE_ERROR in config.stash:
        terminalreporter.write_line(f"ERROR: {config.stash[_USAGE_ERROR]}", red=True)
        return
    ours = _TEST_NAMES in config.stash or _is_evals_run(config)
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.option.keyword and ours:
        _, restorers, _, models = chosen(config)
        names = {*models.names, *restorers.names, *config.stash.get(_TEST_NAMES, set())}
        combinations = [f"{model}-{restoration}" for model in models.names for restoration in restorers.names]
        for line in keywords.suggestions(config.option.keyword, names, combinations):
            terminalreporter.write_line(line)
    state = known_state(config)
    if state is None or hasattr(config, "workerinput"):
        return
    if not (state.results or state.skipped or state.errors or state.sections["prompts"]):
        return
    from fer_models.plugin import github, terminal

    terminal.write_summary(terminalreporter, config, state)
    reports = [*terminalreporter.stats.get("failed", []), *terminalreporter.stats.get("error", [])]
    for line in github.lines(state.report(), [report.nodeid for report in reports]):
        terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)  # pytest collects garbage several times after that
def pytest_unconfigure(config: pytest.Config) -> None:
    """Skip the garbage collection of torch and other imports at exit, which takes more than a second."""
    if known_state(config) is not None:
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report: Any) -> None:
    """The page's title."""
    report.title = "fer-models: evaluation of facial emotion recognition models"


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_html_results_table_row(report: pytest.TestReport, cells: list[str]) -> None:
    """Escape the id of a test: it contains names from outside, and pytest-html writes it as it is."""
    start, end = '<td class="col-testId">', "</td>"
    for i, cell in enumerate(cells):
        if isinstance(cell, str) and cell.startswith(start) and report.nodeid in cell:
            cells[i] = f"{start}{escape(cell[len(start) : -len(end)])}{end}"
