"""The pytest side: options, hooks and fixtures. It computes nothing; `evaluation` does.

The root `conftest.py` names this plugin; other suites opt in with `-p fer_models.plugin`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fer_models import corruptions, names, weights, zoo
from fer_models.classifiers import prompts, questions
from fer_models.corruptions import Corruption
from fer_models.errors import FerModelsError, UsageError, WeightsMissingError
from fer_models.evaluation import baselines, claims, gate
from fer_models.evaluation.beside import KINDS, Measured
from fer_models.evaluation.options import Options
from fer_models.evaluation.prompting import fallen
from fer_models.evaluation.restoration import Effect
from fer_models.evaluation.run import Progress
from fer_models.evaluation.store import Answers
from fer_models.evaluation.suite import Pair, Suite, environment
from fer_models.registry import DEVICES, PRECISIONS, TTA, ModelSpec, Registry, RestorerSpec, Runtime
from fer_models.report import page, tables, verdicts
from fer_models.training.recipes import CLIP_NANO, PHI3V_NANO, RECIPES

_STATE = pytest.StashKey["State"]()
#: The section of evals.json with what restorations do, and all sections that are made of entries by name.
_EFFECTS = "restorations"
_SECTIONS = (*dict.fromkeys(kind.section for kind in KINDS.values()), _EFFECTS)


# -- options --------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line contract."""
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
    # pytest has a --strict of its own, about configuration and markers: where it does, the word means both (see `_strict`).
    with suppress(ValueError):
        add("--strict", action="store_true", help="INCONCLUSIVE and NEW verdicts fail too")


def _strict(config: pytest.Config) -> bool:
    """Whether --strict was given: as our option, or as pytest's own, which sets an ini value (also where xdist hands options on)."""
    return config.getoption("strict", False) is True or "strict=true" in (config.getoption("override_ini", None) or ())


class State:
    """What one run knows; kept in the config's stash."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.getoption
        self.config = config
        self.report_dir: Path = option("--report-dir") or config.rootpath / "reports"
        self.update: bool = option("--update-baselines")
        self.strict = _strict(config)
        if self.update and option("--limit") is not None:
            raise UsageError("--update-baselines records whole splits only. Leave --limit out.")
        if option("--batch-size") < 1:
            raise UsageError(f"--batch-size must be at least 1, got {option('--batch-size')}.")
        for least_one in ("--prompt-examples", "--question-faces", "--changed-faces", "--corrupted-faces"):
            if option(least_one) < 1:
                raise UsageError(f"{least_one} must be at least 1, got {option(least_one)}.")
        models, self.restorers, self.notes = names.known(option("--models-from"))
        self.models: Registry[ModelSpec] = (
            Registry("model", *(names.select(n, models) for n in dict.fromkeys(option("--model")))) if option("--model") else models
        )
        if option("--prompts") is not None:
            self.models = names.reprompted(self.models, prompts.load(option("--prompts")))
        if option("--question") is not None:
            self.models = names.questioned(self.models, questions.load(option("--question")))
        options = Options(
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
        self.suite = Suite(options, self.models, self.restorers, self._progress, models.names)
        self.results: dict[str, dict[str, Any]] = {}
        self.records: dict[str, baselines.Record] = {}
        self.costs: list[dict[str, Any]] = []
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _SECTIONS}
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    # -- what the run leaves ----------------------------------------------------------------------

    def collect(self) -> None:
        """Take from the suite what this process measured."""
        for pair in self.suite.asked():
            message = ""
            try:
                message = verdicts.message(self.suite.verdict(pair), self.strict)
            except FerModelsError as error:
                message = str(error)
            result = self.suite.result(pair, message)
            self.merge(result)
            if self.update:
                self.records[result["id"]] = self.suite.record(pair)
        for (kind, pair), measured in self.suite.measured.items():
            subject = self.suite.subject(pair)
            self.sections[KINDS[kind].section][subject.id] = {"subject": subject.as_json(), "id": subject.id, **measured.as_json()}
        if self.suite.effects.wanted:
            about = {"dataset": self.suite.data.faces.dataset, "split": self.suite.data.faces.split, "corruption": self.suite.spoilt}
            for effect in self.suite.effects.all():
                key = f"{effect.restoration} against {effect.against}: {effect.model}"
                self.sections[_EFFECTS][key] = {"subject": about, **effect.as_json(), "faces": self.suite.effects.turned(effect)}
        self.errors |= {self.suite.subject(p).id: str(e) for p, e in self.suite.failed().items()}

    def merge(self, result: dict[str, Any]) -> None:
        """Keep one entry per subject; the one of the process that asked the model wins over those that read the store."""
        known = self.results.get(result["id"])
        if known is None or not result["from_store"]:
            self.results[result["id"]] = result

    def report(self) -> dict[str, Any]:
        """The content of evals.json."""
        faces = self.suite.data.faces
        published = [claims.annotate(p) for p in self.suite.baselines.published if p.get("dataset") in (None, faces.dataset)]
        return {
            "schema": page.SCHEMA,
            "environment": environment() | {"command": " ".join(["pytest", *self.config.invocation_params.args])},
            "results": [self.results[k] for k in sorted(self.results)],
            "costs": self.costs,
            **{name: [entries[k] for k in sorted(entries)] for name, entries in self.sections.items()},
            "data": self.suite.data.as_json(),
            "skipped": [{"model": name, "reason": reason} for name, reason in sorted(self.skipped.items())],
            "errors": [{"subject": name, "message": message} for name, message in sorted(self.errors.items())],
            "published": published,
        }

    @contextmanager
    def _progress(self, title: str, total: int) -> Iterator[Progress]:
        """A bar on a terminal; a line at the start elsewhere; nothing in a worker."""
        reporter, capture = self.config.pluginmanager.get_plugin("terminalreporter"), self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or capture is None or hasattr(self.config, "workerinput"):
            yield lambda n: None
            return
        with capture.global_and_fixture_disabled():
            if not sys.stderr.isatty():
                reporter.ensure_newline()
                reporter.write_line(f"{title}: {total} faces")
                yield lambda n: None
                return
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(title, total=total)
                yield lambda n: bar.advance(task, n)


def state_of(config: pytest.Config) -> State:
    """The run's state, made when first asked for.

    Raises:
        pytest.UsageError: an option cannot work; pytest ends with code 4.
    """
    if _STATE not in config.stash:
        try:
            config.stash[_STATE] = State(config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_STATE]


def _asks_questions(config: pytest.Config) -> bool:
    """Whether this run is about the evals, judging by the paths on the command line."""
    evals = config.rootpath / "evals"
    paths = [Path(config.invocation_params.dir, str(a).split("::")[0]).resolve() for a in config.args]
    return any(p == evals or evals in p.parents for p in paths)


# -- hooks ----------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """An evals run leaves its page beside evals.json unless --html says otherwise."""
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
_NEED_WEIGHTS = frozenset({"pair", "raw_pair", "classifier", "training_record"})


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
    if config.getoption("--from-store-only") and {"classifier", "costs", "prompting", "questioning", "metamorphic", "robustness", "reader"} & wanted:
        return True
    return bool(
        ("training_step" in wanted and model not in RECIPES)
        or ("training_record" in wanted and model not in (*RECIPES, CLIP_NANO, PHI3V_NANO))
        or ("effect" in wanted and item.callspec.params.get("restoration") == "raw")
        or ({"prompting", "reader"} & wanted and not _reads(state_of(config).models[str(model)]))
        or ("questioning" in wanted and not _writes(state_of(config).models[str(model)]))
        or ("in_float32" in wanted and _resolved(state_of(config), str(model)).precision == "float32")
    )


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
    state, told = state_of(node.config), json.loads(sent)
    for result in told["results"]:
        state.merge(result)
    state.records |= {r["id"]: baselines.parse(json.dumps({"schema": 1, "measured": [r["record"]]}), "worker").measured[0] for r in told["records"]}
    state.skipped |= told["skipped"]
    state.errors |= told["errors"]
    state.costs += told["costs"]
    for name, entries in told["sections"].items():
        state.sections[name] |= entries
    state.suite.data.audited = state.suite.data.audited or told["audit"]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write evals.json (before pytest-html writes the page), and the baselines if asked."""
    if _STATE not in session.config.stash or session.config.option.collectonly:
        return
    if session.exitstatus == pytest.ExitCode.INTERRUPTED:  # judging now would ask what is still missing
        return
    state = session.config.stash[_STATE]
    try:
        state.collect()
        if hasattr(session.config, "workerinput"):
            session.config.workeroutput["fer_models"] = _handover(state)  # type: ignore[attr-defined]
            return
        if not (state.results or state.costs or state.sections["prompts"] or state.errors or state.skipped or state.suite.data.audited):
            return
        page.write_json(state.report(), state.report_dir / "evals.json")
        if state.update:
            state.suite.baselines.updated(state.records.values()).write(state.suite.options.baselines)
    except (FerModelsError, OSError) as error:
        state.errors["the report"] = str(error)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _handover(state: State) -> str:
    from dataclasses import asdict

    return json.dumps({
        "results": list(state.results.values()),
        "records": [{"id": k, "record": asdict(r)} for k, r in state.records.items()],
        "skipped": state.skipped,
        "errors": state.errors,
        "costs": state.costs,
        "sections": state.sections,
        "audit": state.suite.data.audited,
    })  # fmt: skip


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The leaderboard, the skips with their commands, and where the page lies."""
    if _STATE not in config.stash or hasattr(config, "workerinput"):
        return
    state = config.stash[_STATE]
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
    state = session.config.stash.get(_STATE, None)
    if state is not None and (state.results or state.sections["prompts"] or state.skipped or state.suite.data.audited):
        prefix.append(page.summary_html(state.report()))


# -- fixtures -------------------------------------------------------------------------------------


class Gate:
    """What a question asks of the gate: `holds(metric)` fails the test with the failure table, without a traceback."""

    def __init__(self, state: State, pair: Pair) -> None:
        self.state, self.pair = state, pair

    def holds(self, metric: str) -> None:
        """Fail unless `metric` (`accuracy`, `macro_f1`, `recall` for all seven, or `drift`) holds its baseline."""
        __tracebackhide__ = True
        verdict = self.state.suite.verdict(self.pair)
        reason = verdicts.why_not(verdict, metric, self.state.strict)
        if reason is not None:
            pytest.fail(reason, pytrace=False)

    @property
    def verdict(self) -> gate.Verdict:
        """The verdict itself, for questions of one's own."""
        return self.state.suite.verdict(self.pair)


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> Suite:
    """This run: its faces, answers and verdicts."""
    return state_of(request.config).suite


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest, model: ModelSpec, restoration: RestorerSpec) -> Pair:
    """One model and one restoration that can be asked here; skipped with the command that would make it so."""
    return _available(state_of(request.config), (model.name, restoration.name))


def _available(state: State, pair: Pair) -> Pair:
    reason = state.suite.unavailable(pair)
    if reason is not None:
        missing = pair[1] if reason == state.suite.restorer_unavailable(pair[1]) else pair[0]
        state.skipped[missing] = reason
        pytest.skip(reason)
    return pair


@pytest.fixture
def predictions(suite: Suite, pair: Pair) -> Answers:
    """What the pair answers of every face, from the store or asked now."""
    return suite.run(pair).answers


@pytest.fixture(name="gate")
def gate_fixture(request: pytest.FixtureRequest, pair: Pair) -> Gate:
    """The gate for the pair."""
    return Gate(state_of(request.config), pair)


@pytest.fixture(scope="session")
def audit(suite: Suite) -> dict[str, Any]:
    """What is wrong with the faces, as `fer-models data audit` finds it; it stands on the page too."""
    return suite.data.audit()


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Where cost questions leave what they measured, for the page."""
    return state_of(request.config).costs


@pytest.fixture(scope="session")
def classifier(request: pytest.FixtureRequest, model: ModelSpec, suite: Suite) -> Any:
    """The model itself, loaded; skipped where its weights are not here."""
    _available(state_of(request.config), (model.name, "raw"))
    return suite.classifier(model.name)


@pytest.fixture(scope="session")
def reader(classifier: Any) -> Any:
    """A model that is asked in words, loaded; only such are asked what needs it."""
    return classifier


@pytest.fixture(scope="session")
def in_float32(request: pytest.FixtureRequest, model: ModelSpec) -> Any:
    """The model loaded once more, in float32; asked for only where it runs in less."""
    state = state_of(request.config)
    _available(state, (model.name, "raw"))
    return model.load(replace(state.suite.options.runtime, precision="float32"))


@pytest.fixture
def training_step(request: pytest.FixtureRequest, model: ModelSpec, suite: Suite) -> Any:
    """One update of the model's own recipe on a batch of this run's faces: (call it, faces in the batch)."""
    from fer_models.training import loop

    return loop.single_step(RECIPES[model.name], suite.data.faces, suite.options.runtime.device)


@pytest.fixture
def training_record(request: pytest.FixtureRequest, model: ModelSpec) -> dict[str, Any]:
    """How the model's weights were trained, as `fer-models train` wrote it into them; skipped for weights that do not say."""
    _available(state_of(request.config), (model.name, "raw"))
    path = model.weights_path()
    file = path / "model.safetensors" if path is not None and path.is_dir() else path
    said = None if file is None or not file.exists() else weights.metadata(file).get("provenance")
    if said is None:
        pytest.skip(f"the weights of {model.name} do not say how they were trained")
    record: dict[str, Any] = json.loads(said)
    return record


class Hold:
    """What a question asks of figures beside the accuracy: `measured` are they, `holds` fails where they are worse than their record."""

    def __init__(self, suite: Suite, pair: Pair, kind: str, on: str) -> None:
        """`kind` is one of `beside.KINDS`; `on` completes "it hangs more on …"."""
        self.suite, self.pair, self._kind, self._on = suite, pair, kind, on

    @property
    def measured(self) -> Measured:
        """All that was measured."""
        return self.suite.beside(self._kind, self.pair)

    def holds(self, part: str) -> None:
        """Fail where a figure with `part` in its name (such as `template` or `rotations`) is worse than its record by more than the margin."""
        __tracebackhide__ = True
        worse = fallen(self.measured.figures(), self.suite.figures_record(self.pair), part)
        if worse:
            subject = self.suite.subject(self.pair).id
            lines = "".join(f"\n  {line}" for line in worse)
            pytest.fail(f"{subject}: it hangs more on {self._on} than its baseline says.{lines}\n  {verdicts.HINT}", pytrace=False)


@pytest.fixture
def raw_pair(request: pytest.FixtureRequest, model: ModelSpec) -> Pair:
    """The model on the faces as they are; skipped where its weights are not here."""
    return _available(state_of(request.config), (model.name, "raw"))


@pytest.fixture
def prompting(suite: Suite, raw_pair: Pair) -> Hold:
    """How much the model's answers hang on its prompts; only models that are asked by prompts about what they have seen are asked this."""
    return Hold(suite, raw_pair, "prompting", "its words")


@pytest.fixture
def questioning(suite: Suite, raw_pair: Pair) -> Hold:
    """How much the model's answers hang on the question and on the order of its list; only models that write are asked this."""
    return Hold(suite, raw_pair, "questioning", "how it is asked")


@pytest.fixture
def metamorphic(suite: Suite, raw_pair: Pair) -> Hold:
    """How much small changes of the faces matter to the model."""
    return Hold(suite, raw_pair, "metamorphic", "small changes")


@pytest.fixture
def robustness(suite: Suite, pair: Pair) -> Hold:
    """How much worse the pair's answers become on bad pictures."""
    return Hold(suite, pair, "robustness", "good pictures")


@pytest.fixture
def effect(suite: Suite, pair: Pair) -> Effect:
    """What a restoration does to the model's answers, against the faces as they are."""
    return suite.effects.of(pair)
