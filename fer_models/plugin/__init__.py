"""The pytest side: options, hooks and fixtures. It computes nothing; `evaluation` does.

The root `conftest.py` names this plugin; other suites opt in with `-p fer_models.plugin`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fer_models.errors import FerModelsError, UsageError, WeightsMissingError
from fer_models.evaluation.asking import Pair
from fer_models.plugin import options
from fer_models.plugin.state import State, known_state, state_of
from fer_models.registry import TTA, ModelSpec, RestorerSpec, Runtime
from fer_models.report import page, tables
from fer_models.training.recipes import CLIP_NANO, PHI3V_NANO, RECIPES

pytest_plugins = ["fer_models.plugin.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line contract."""
    options.add(parser)


def _asks_questions(config: pytest.Config) -> bool:
    """Whether this run is about the evals, judging by the paths on the command line."""
    evals = config.rootpath / "evals"
    paths = [Path(config.invocation_params.dir, str(a).split("::")[0]).resolve() for a in config.args]
    return any(p == evals or evals in p.parents for p in paths)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """An evals run leaves its page beside evals.json unless --html says otherwise. Of several processes (`-n`) each uses its share of the cores."""
    if workers := getattr(config, "workerinput", {}).get("workercount"):
        # OpenMP's threads wait for each other busily: with more of them than cores a network takes several times its own time. torch, which is
        # imported with the first model, reads this.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    if _asks_questions(config) and not hasattr(config, "workerinput") and hasattr(config.option, "htmlpath"):
        if not config.option.htmlpath:
            folder: Path = config.getoption("--report-dir") or config.rootpath / "reports"
            config.option.htmlpath = str(folder / "evals.html")
        config.option.self_contained_html = True


def pytest_sessionstart(session: pytest.Session) -> None:
    """Everything a user can get wrong on the command line is found before the first test."""
    if not _asks_questions(session.config):
        return
    state = state_of(session.config)
    try:
        assert state.suite.data.faces is not None
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        for line in (*state.notes, *(f"{state.suite.data.faces.name}: {n}" for n in state.suite.data.faces.notes)):
            reporter.write_line(line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`model` and `restoration` become one test each per registered name."""
    names = set(metafunc.fixturenames)
    if "suite" not in names:  # somebody else's `model`
        return
    if "model" in names:
        metafunc.parametrize("model", state_of(metafunc.config).models.names, indirect=True, scope="session")
    if "restoration" in names:
        metafunc.parametrize("restoration", state_of(metafunc.config).restorers.names, indirect=True, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A warning in somebody's model is shown, and fails no verdict, however strict the suite's own settings are."""
    if "suite" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only a model with a training recipe, or one that reads, can be asked is not asked of others; with --from-store-only, what needs a
    model is not asked; and what is not on this machine is skipped once, and not in every question."""
    asked = [i for i in items if isinstance(i, pytest.Function) and "suite" in i.fixturenames]
    gone = {i for i in asked if _of_another_kind(config, i)}
    missing: set[str] = set()
    for item in asked:
        name = None if item in gone else _missing(state_of(config), item)
        if name in missing:
            gone.add(item)
        missing |= {name} if name is not None else set()
    if gone:
        config.hook.pytest_deselected(items=[item for item in items if item in gone])
        items[:] = [item for item in items if item not in gone]


#: What asks a loaded model, or its stored answers; other questions about a model do not need its weights.
_NEED_WEIGHTS = frozenset({"pair", "raw_pair", "classifier", "load_classifier", "training_record"})


def _missing(state: State, item: pytest.Function) -> str | None:
    """The model or restoration that a question needs and that is not on this machine; None where all is here."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    if not _NEED_WEIGHTS & set(item.fixturenames):
        return None
    named: list[ModelSpec | RestorerSpec] = [state.models[params["model"]]] if "model" in params else []
    named += [state.restorers[params["restoration"]]] if "restoration" in params else []
    for spec in named:
        try:
            spec.weights_path()
        except WeightsMissingError:
            return f"{type(spec).__name__} {spec.name}"
        except FerModelsError:  # unsound weights fail their own questions, in words
            return None
    return None


def _of_another_kind(config: pytest.Config, item: pytest.Function) -> bool:
    wanted, model = set(item.fixturenames), getattr(getattr(item, "callspec", None), "params", {}).get("model")
    if config.getoption("--from-store-only") and _NEED_MODEL & wanted:
        return True
    if _left_out(state_of(config), item, wanted, model):
        return True
    return bool(
        ("training_step" in wanted and model not in RECIPES)
        or ("training_record" in wanted and model not in (*RECIPES, CLIP_NANO, PHI3V_NANO))
        or ("effect" in wanted and item.callspec.params.get("restoration") == "raw")
        or ({"prompting", "load_zero_shot_classifier"} & wanted and not _reads(state_of(config).models[str(model)]))
        or ("questioning" in wanted and not _writes(state_of(config).models[str(model)]))
        or ("predict_in_float32" in wanted and _resolved(state_of(config), str(model)).precision == "float32")
    )


#: What may need a loaded model although all predictions for the dataset are stored.
_NEED_MODEL = frozenset(
    {"classifier", "load_classifier", "predict", "costs", "prompting", "questioning", "metamorphic", "robustness"}
)
#: What a quick run leaves out: restorations, robustness, controls, data quality and costs.
_BESIDE_PREDICTIONS = _NEED_MODEL | {"effect", "audit", "sample"}


def _left_out(state: State, item: pytest.Function, wanted: set[str], model: str | None) -> bool:
    """Whether the run's depth leaves this test out."""
    depth, params = state.suite.options.depth, getattr(getattr(item, "callspec", None), "params", {})
    restoration = params.get("restoration")
    if not depth.checks and (_BESIDE_PREDICTIONS & wanted or restoration not in (None, "raw")):
        return True
    if model is not None and depth.zoo_models is not None and model not in state.fastest_models:
        return True
    return "robustness" in wanted and not depth.restored_corruptions and restoration != "raw"


def _reads(spec: ModelSpec) -> bool:
    """Whether a model is asked in words about faces that it has looked at before."""
    return spec.embeds and spec.reprompted is not None


def _writes(spec: ModelSpec) -> bool:
    """Whether a model is asked a question, and can be asked another one."""
    return spec.question is not None and not spec.name.partition("@")[0].endswith(TTA)


def _resolved(state: State, model: str) -> Runtime:
    return state.models[model].resolve(state.suite.options.runtime)


def pytest_collection_finish(session: pytest.Session) -> None:
    """The subjects that the selected tests gate are judged together."""
    pairs: list[Pair] = []
    for item in session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if "gate" in getattr(item, "fixturenames", ()) and {"model", "restoration"} <= params.keys():
            pairs.append((params["model"], params["restoration"]))
    if pairs:
        worker = getattr(session.config, "workerinput", {}).get("workerid", "gw0")
        state_of(session.config).suite.select(pairs, start=int(worker.removeprefix("gw")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Our own errors are complete sentences: show them without a traceback."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if call.excinfo is not None and isinstance(call.excinfo.value, FerModelsError):
        report.longrepr = str(call.excinfo.value)
    return report  # type: ignore[return-value]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker hands over what it measured."""
    sent = getattr(node, "workeroutput", {}).get("fer_models")
    if sent is None:
        return
    state_of(node.config).take(sent)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write evals.json (before pytest-html writes the page), and the baselines if asked."""
    state = known_state(session.config)
    if state is None or session.config.option.collectonly:
        return
    if session.exitstatus == pytest.ExitCode.INTERRUPTED:  # judging now would ask what is still missing
        return
    try:
        state.collect()
        if hasattr(session.config, "workerinput"):
            session.config.workeroutput["fer_models"] = state.handover()  # type: ignore[attr-defined]
            return
        if not (state.results or state.costs or state.sections["prompts"] or state.errors or state.skipped or state.suite.data.audited):
            return
        page.write_json(state.report(), state.report_dir / "evals.json")
        if state.update:
            state.suite.baselines.updated(state.records.values()).write(state.suite.options.baselines)
    except (FerModelsError, OSError) as error:
        state.errors["the report"] = str(error)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The leaderboard, the skips with their commands, and where the page lies."""
    state = known_state(config)
    if state is None or hasattr(config, "workerinput"):
        return
    if not (state.results or state.skipped or state.errors or state.sections["prompts"]):
        return
    report = state.report()
    terminalreporter.section("fer-models")
    if state.results:
        text, colour = io.StringIO(), terminalreporter._tw.hasmarkup
        width = max(terminalreporter._tw.fullwidth, 100)
        Console(file=text, width=width, force_terminal=colour, color_system="standard" if colour else None).print(tables.leaderboard(report))
        terminalreporter.write_line(text.getvalue().rstrip())
    for line in (*tables.prompts(report), *tables.restorations(report), *tables.skips(report), *(f"error: {m}" for m in state.errors.values())):
        terminalreporter.write_line(line)
    if state.update and state.records:
        terminalreporter.write_line(
            f"recorded {len(state.records)} subject(s) in {state.suite.options.baselines}: review the diff before you commit it"
        )
    terminalreporter.write_line(f"page: {config.getoption('htmlpath', None) or 'none'}   numbers: {state.report_dir / 'evals.json'}")


@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report: Any) -> None:
    """The page's title."""
    report.title = "fer-models: facial emotion models put to the question"


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], summary: list[str], postfix: list[str], session: pytest.Session) -> None:
    """The deliverable stands at the top of the page."""
    state = known_state(session.config)
    if state is not None and (state.results or state.sections["prompts"] or state.skipped or state.suite.data.audited):
        prefix.append(page.summary_html(state.report()))
