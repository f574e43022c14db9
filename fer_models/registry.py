"""What can be evaluated, by name: complete records, added all or nothing, looked up with a suggestion.

A record says everything about a model except its weights' values; `load` is the only part that may import a heavy library.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from fer_models.classifiers.base import Classifier
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.questions import Question
from fer_models.emotions import LABELS, LabelSpace
from fer_models.errors import FerModelsError, UnknownNameError, UsageError, WeightsError, WeightsMissingError, one_line
from fer_models.files import sha256_of as sha256_of
from fer_models.machine import bf16_is_fast
from fer_models.restorers.base import Restorer
from fer_models.third_party_code import contained, described

PRECISIONS = ("float32", "bf16", "fp16")
#: A model's own precision where the machine decides it.
FAST = "fast"
DEVICES = ("auto", "cpu", "cuda", "mps")
#: The mark of test-time augmentation.
TTA = "+tta"
#: What may follow a model's name (before `@FILE`) and says how it is asked, where that is not the plain way.
_MARK = re.compile(r"\+(?:tta|likelihood(?:-normalized|-calibrated)?|[1-9][0-9]*crops)(?=\+|$)")
#: What the name of a linear probe on another model ends with.
PROBE = "-probe"
#: The longest name, in characters: it becomes part of the names of folders, which hold 255 bytes on most systems.
LONGEST_NAME = 150


def mark_of(name: str) -> str:
    """The last mark in a model's name: `+tta` of `vgg19+tta` and of `vgg19+tta@FILE`; nothing of `vgg19`."""
    network = name.partition("@")[0]
    marks = [m for m in _MARK.finditer(network) if m.end() == len(network)]
    return marks[-1][0] if marks else ""


def base_name(name: str) -> str:
    """The name without its last mark: `vgg19` of `vgg19+tta`, `vgg19@FILE` of `vgg19+tta@FILE`; any other name as it is."""
    network, at, file = name.partition("@")
    return f"{network.removesuffix(mark_of(name))}{at}{file}"


def parts_of(name: str) -> tuple[str, ...]:
    """The models that a fusion's name puts together: `vgg19` and `resnet50+tta` for `vgg19+resnet50+tta`; any other name alone."""
    if "@" in name or name.startswith("+"):
        return (name,)
    return tuple(part.replace("\0", "+") for part in _MARK.sub(lambda mark: f"\0{mark[0][1:]}", name).split("+"))


def is_known(name: str, known: Collection[str]) -> bool:
    """Whether `name` is one of `known`, or is made of them: asked in another way, by a linear probe, or by fusion."""
    if name in known:
        return True
    parts = parts_of(name)
    if len(parts) > 1:
        return all(is_known(part, known) for part in parts)
    return is_known(base_name(name), known) if mark_of(name) else name.removesuffix(PROBE) in known


@dataclass(frozen=True)
class Runtime:
    """Where and how a model runs.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto` (the model's own), `float32`, `bf16` or `fp16`.
        download: what is missing may be fetched from the network (today: the dataset).
    """

    device: str = "auto"
    precision: str = "auto"
    download: bool = False


@dataclass(frozen=True)
class Weights:
    """The file(s) a model reads, resolved on this machine.

    Attributes:
        find: the path, or None when it is not here.
        command: what the user types to get it.
        fetch: gets it from the network, for `fer-models weights --fetch`; None where it cannot be fetched.
    """

    find: Callable[[], Path | None]
    command: str
    fetch: Callable[[], Path] | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One model, completely.

    Attributes:
        name: how it is called on the command line and in baselines: letters, digits and `._:/@+-`.
        load: makes the classifier; called once per run, with the `Runtime`.
        description: one line for `fer-models list`.
        labels: the order of the model's own classes, by name.
        weights: its weights file, or None for a model without one.
        settings: everything else that decides its answers (preprocessing, prompts, a version): JSON values. Part of its identity.
        precision: what `auto` means for it: one of `PRECISIONS`, or `fast` for bf16 where the machine is fast at it and float32 elsewhere.
        prompt: the name of its prompt set, for models that read one.
        reprompted: the same model with another prompt set, for models that read one.
        question: what it is asked, for models that write. asked: the same model with another question.
        marked: the same model asked in the way that a mark in its name declares, for models that know more than the plain one; raises
            `UsageError` for a mark it does not know.
        source: where it was defined, when not in the zoo.
        embeds: it is an `Embedding`: the directions of faces are kept, and its prompts (`settings["prompts"]`) do not decide them.
        pools: it is a late fusion: its answers come from its parts' answers, and its weights are a `fusion.Fusion`.
        parts: the models it is made from: for a fusion those whose answers it pools, for a linear probe the one whose directions it reads.
    """

    name: str
    load: Callable[[Runtime], Classifier]
    description: str = ""
    labels: tuple[str, ...] = LABELS
    weights: Weights | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "float32"
    prompt: str | None = None
    source: Path | None = None
    reprompted: Callable[[PromptSet], ModelSpec] | None = None
    question: Question | None = None
    asked: Callable[[Question], ModelSpec] | None = None
    marked: Callable[[str], ModelSpec] | None = None
    embeds: bool = False
    pools: bool = False
    parts: tuple[ModelSpec, ...] = ()

    def __post_init__(self) -> None:
        _check_name("model", self.name)
        _check_fields(
            self,
            {
                **{"load": Callable, "description": str, "labels": list | tuple, "weights": Weights | None, "settings": Mapping},
                **{"precision": str, "prompt": str | None, "source": Path | None, "question": Question | None, "parts": tuple},
                **{"reprompted": Callable | None, "asked": Callable | None, "marked": Callable | None, "embeds": bool, "pools": bool},
            },
        )
        _check_precision(self.name, self.precision)
        object.__setattr__(self, "settings", _plain(self.name, self.settings))
        object.__setattr__(self, "labels", tuple(self.labels))
        for name, values, kind in (("labels", self.labels, str), ("parts", self.parts, ModelSpec)):
            if foreign := [type(value).__name__ for value in values if not isinstance(value, kind)]:
                raise UsageError(f"ModelSpec {self.name!r}: {name} must hold {kind.__name__} only; there is a {foreign[0]} among them.")
        space = LabelSpace.from_names(f"labels of {self.name}", self.labels)
        if all(e is None for e in space.order):
            raise UsageError(f"Model {self.name!r} declares no label that is one of the seven emotions.")

    def resolve(self, runtime: Runtime) -> Runtime:
        """`runtime` with `auto` precision replaced by this model's own."""
        return _resolved(runtime, self.precision)

    def weights_path(self) -> Path | None:
        """Where the weights lie; None for a model without weights.

        Raises:
            WeightsMissingError: they, or those of a part, are not on this machine; the text says how to get them.
        """
        for part in self.parts:
            part.weights_path()
        return _located(self.name, self.weights)

    def identity(self, runtime: Runtime) -> dict[str, Any]:
        """What decides the answers, as JSON: weights by content, code of one's own by content, settings, precision.

        Raises:
            WeightsMissingError: see `weights_path`.
        """
        path = self.weights_path()
        own = {
            "model": self.name,
            "weights": sha256_of(path) if path else None,
            "code": sha256_of(self.source) if self.source else None,
            "labels": list(self.labels),
            "settings": dict(self.settings),
            "precision": self.resolve(runtime).precision,
        }
        return own | {"parts": [part.identity(runtime) for part in self.parts]} if self.parts else own

    def embedding_identity(self, runtime: Runtime) -> dict[str, Any]:
        """What decides the directions of faces: `identity` without the model's name and its words. Raises as `identity`."""
        own = self.identity(runtime)
        settings = {key: value for key, value in own["settings"].items() if key != "prompts"}
        return {"weights": own["weights"], "code": own["code"], "settings": settings, "precision": own["precision"]}


@dataclass(frozen=True)
class RestorerSpec:
    """One restoration configuration, completely. `load`, `weights`, `settings` and `source` are as in `ModelSpec`.

    Attributes:
        precision: what `auto` means for it, as in `ModelSpec`; None for a restorer that computes the same in any precision.
        kept: it is slow enough that what it restored is kept on disk, face by face, for all models.
    """

    name: str
    load: Callable[[Runtime], Restorer]
    description: str = ""
    weights: Weights | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    precision: str | None = None
    kept: bool = False

    def __post_init__(self) -> None:
        _check_name("restorer", self.name)
        _check_fields(self, {"load": Callable, "description": str, "weights": Weights | None, "settings": Mapping})
        _check_fields(self, {"source": Path | None, "precision": str | None, "kept": bool})
        if self.precision is not None:
            _check_precision(self.name, self.precision)
        object.__setattr__(self, "settings", _plain(self.name, self.settings))

    def resolve(self, runtime: Runtime) -> Runtime:
        """See `ModelSpec.resolve`."""
        return runtime if self.precision is None else _resolved(runtime, self.precision)

    def weights_path(self) -> Path | None:
        """See `ModelSpec.weights_path`."""
        return _located(self.name, self.weights)

    def identity(self, runtime: Runtime) -> dict[str, Any]:
        """What decides the restored pixels, as JSON."""
        path = self.weights_path()
        own = {
            "restorer": self.name,
            "weights": sha256_of(path) if path else None,
            "code": sha256_of(self.source) if self.source else None,
            "settings": dict(self.settings),
        }
        return own if self.precision is None else own | {"precision": self.resolve(runtime).precision}


def _located(name: str, weights: Weights | None) -> Path | None:
    """Where the weights of `name` lie; None for a record without weights.

    Raises:
        WeightsMissingError: they are not on this machine.
        WeightsError: `find` failed, or returned something else than a path.
    """
    if weights is None:
        return None
    with contained(WeightsError, f"The weights of {name} cannot be searched for, because Weights.find failed"):
        path = weights.find()
    if path is None:
        raise WeightsMissingError(f"the weights of {name} are not on this machine. Get them: {weights.command}")
    if not isinstance(path, Path):
        raise WeightsError(f"The Weights.find of {name} returned a {type(path).__name__}. Return a pathlib.Path, or None where there is no file.")
    return path


def _resolved(runtime: Runtime, own: str) -> Runtime:
    """`runtime` with `auto` precision replaced by `own`, and `fast` by what the machine is fast at."""
    if runtime.precision != "auto":
        return runtime
    fast = "bf16" if own == FAST and bf16_is_fast(runtime.device) else "float32"
    return replace(runtime, precision=fast if own == FAST else own)


T = TypeVar("T")
Spec = TypeVar("Spec", ModelSpec, RestorerSpec)


def derived(spec: ModelSpec, change: Callable[[T], ModelSpec], argument: T) -> ModelSpec:
    """The model that one of `spec`'s own functions (`reprompted`, `asked`, `marked`) makes of an argument.

    Raises:
        UsageError: it failed, or made something else.
    """
    with _defining(f"{spec.name} cannot be made with {type(argument).__name__} '{one_line(getattr(argument, 'name', str(argument)))}'"):
        found = change(argument)
    if not isinstance(found, ModelSpec):
        raise UsageError(f"{spec.name} makes a {type(found).__name__} of another {type(argument).__name__}. It must make a ModelSpec.")
    return found


class Registry(Generic[Spec]):
    """Records by name, in the order they were added. A value: `copy` it, `add` to it; a refused `add` changes nothing."""

    def __init__(self, kind: str, *specs: Spec) -> None:
        self.kind = kind
        self._by_name: dict[str, Spec] = {}
        self.add(*specs)

    def add(self, *specs: Spec) -> None:
        """Add all of `specs`, or none of them.

        Raises:
            UsageError: a name is taken, or given twice.
        """
        by_name = dict(self._by_name)
        for spec in specs:
            if spec.name in by_name:
                raise UsageError(f"A {self.kind} named {spec.name!r} is already registered. Give yours another name.")
            by_name[spec.name] = spec
        self._by_name = by_name

    def override(self, *specs: Spec) -> list[str]:
        """Add `specs`, letting each take the place of a namesake, so that one's own `vgg19` meets the recorded one's baseline.

        Returns:
            the names that were replaced.
        """
        replaced = [s.name for s in specs if s.name in self._by_name]
        self._by_name = self._by_name | {s.name: s for s in specs}
        return replaced

    def copy(self) -> Registry[Spec]:
        """An independent registry with the same records."""
        return Registry(self.kind, *self._by_name.values())

    def __getitem__(self, name: str) -> Spec:
        if name not in self._by_name:
            raise UnknownNameError(self.kind, name, self._by_name)
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Spec]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def names(self) -> list[str]:
        """The registered names, in order."""
        return list(self._by_name)


def from_file(path: Path) -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records in the lists `MODELS` and `RESTORERS` of a Python file.

    The file's content becomes part of each record's identity, so that an edited model never gets an old one's answers.

    Raises:
        UsageError: no such file, it fails to run, or it defines neither list.
    """
    if not os.path.isfile(path):
        raise UsageError(f"--models-from '{one_line(str(path))}': no such file. Give a Python file that defines MODELS = [ModelSpec(...)].")
    spec = importlib.util.spec_from_file_location(f"fer_models_from_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--models-from {path}: not a Python file (its name must end in .py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses and pickling inside the user's file work as usual
    with _defining(f"--models-from {path} fails when run"):
        spec.loader.exec_module(module)
    return _records(module, path.resolve(), f"--models-from {path}")


def from_entry_points() -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records that installed packages offer in the entry-point group `fer_models.models`.

    An entry point names a module with the lists `MODELS` and/or `RESTORERS`.

    Raises:
        UsageError: an entry point cannot be imported or offers no record.
    """
    models: list[ModelSpec] = []
    restorers: list[RestorerSpec] = []
    for point in entry_points(group="fer_models.models"):
        where = f"entry point {point.name!r} ({point.value})"
        with _defining(f"{where} fails when loaded", "Repair or uninstall that package."):
            module = point.load()
            file = Path(inspect.getfile(module))
        found, restoring = _records(module, file, where)
        models += found
        restorers += restoring
    return models, restorers


@contextmanager
def _defining(failed: str, hint: str = "") -> Iterator[None]:
    """`contained` for code that defines records: every error is one of the command line."""
    try:
        with contained(UsageError, failed, hint):
            yield
    except UsageError:
        raise
    except FerModelsError as error:
        raise UsageError(f"{failed}: {error}") from error


def _records(module: Any, source: Path, where: str) -> tuple[list[ModelSpec], list[RestorerSpec]]:
    """The records of a module, with the file they come from.

    Raises:
        UsageError: a list is not one, holds something else than records, or two of one name; or there is no record.
    """
    models, restorers = _listed(module, "MODELS", ModelSpec, where), _listed(module, "RESTORERS", RestorerSpec, where)
    if not models and not restorers:
        raise UsageError(f"{where} defines no MODELS and no RESTORERS. Add MODELS = [ModelSpec(name=..., load=...)].")
    return [replace(m, source=source) for m in models], [replace(r, source=source) for r in restorers]


def _listed(module: Any, name: str, kind: type[Spec], where: str) -> list[Spec]:
    with _defining(f"{where}: {name} cannot be read"):
        records = getattr(module, name, [])
        if not isinstance(records, list | tuple):
            raise UsageError(f"{where}: {name} is a {type(records).__name__}. Write {name} = [{kind.__name__}(name=..., load=...)].")
        records = list(records)
        for record in records:
            if not isinstance(record, kind):
                raise UsageError(f"{where}: {name} holds something that is not a {kind.__name__}: a {type(record).__name__}.")
    twice = [one for one, count in Counter(record.name for record in records).items() if count > 1]
    if twice:
        raise UsageError(f"{where}: {name} holds {', '.join(map(repr, twice))} more than once. Give each record a name of its own.")
    return records


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not name or not name.isascii() or not all(c.isalnum() or c in "._:/@+-" for c in name):
        shown = f"'{one_line(name)}'" if isinstance(name, str) else f"A {type(name).__name__}"
        raise UsageError(f"{shown} cannot name a {kind}: use letters, digits and . _ : / @ + -")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"'{one_line(name, 60)}' cannot name a {kind}: it has {len(name)} characters, {LONGEST_NAME} are allowed.")


def _check_fields(record: Any, kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(value := getattr(record, name), kind):
            wanted = str(getattr(kind, "__name__", kind)).replace("collections.abc.", "")
            raise UsageError(f"{type(record).__name__} {record.name!r}: {name} must be {wanted}; got a {type(value).__name__}.")


def _check_precision(name: str, precision: str) -> None:
    if precision not in (*PRECISIONS, FAST):
        raise UsageError(f"{name!r} has precision '{one_line(precision)}'. Known: {', '.join((*PRECISIONS, FAST))}.")


def _plain(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain JSON values, which nobody changes later.

    Raises:
        UsageError: JSON has no word for them.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(settings), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"The settings of {name!r} are part of its identity, so they must be JSON values: {described(error)}") from error
    return plain
