"""What can be evaluated, by name: complete records, added all or nothing, looked up with a suggestion.

A record says everything about a model except its weights' values; `load` is the only part that may import a
heavy library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from fer_models.artifacts.device import bf16_is_fast
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.base import Classifier
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import LABELS, LabelSpace
from fer_models.errors import FerModelsError, UsageError, WeightsError, WeightsMissingError, one_line
from fer_models.restorers.base import Restorer
from fer_models.third_party_code import contained, described

PRECISIONS = ("float32", "bf16", "fp16")
#: A model's own precision where the machine decides it.
AUTO_BF16 = "fast"
DEVICES = ("auto", "cpu", "cuda", "mps")
#: The longest name, in characters: it becomes part of the names of folders, which hold 255 bytes on most
#: systems.
LONGEST_NAME = 150


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
        fetch: gets it from the network, for `fer-models weights fetch`; None where it cannot be fetched.
    """

    locate: Callable[[], Path | None]
    install_hint: str
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
        settings: everything else that decides its answers (preprocessing, prompts, a version): JSON values.
            Part of its identity.
        precision: what `auto` means for it: one of `PRECISIONS`, or `fast` for bf16 where the machine is fast
            at it and float32 elsewhere.
        prompt: the name of its prompt set, for models that read one.
        reprompted: the same model with another prompt set, for models that read one.
        question: what it is asked, for models that write. asked: the same model with another question.
        marked: the same model asked in the way that a mark in its name declares, for models that know more
            than the plain one; raises `UsageError` for a mark it does not know.
        source: where it was defined, when not in the zoo.
        embeds: it is an `Embedding`: the directions of faces are kept, and its prompts
            (`settings["prompts"]`) do not decide them.
        pools: it is a late fusion: its answers come from its parts' answers, and its weights are a
            `fusion.Fusion`.
        parts: the models it is made from: for a fusion those whose answers it pools, for a linear probe the
            one whose directions it reads.
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
    with_prompts: Callable[[PromptSet], ModelSpec] | None = None
    question: Question | None = None
    with_question: Callable[[Question], ModelSpec] | None = None
    with_variant: Callable[[str], ModelSpec] | None = None
    has_embeddings: bool = False
    is_fusion: bool = False
    components: tuple[ModelSpec, ...] = ()

    def __post_init__(self) -> None:
        _check_name("model", self.name)
        _check_fields(
            self,
            {
                **{
                    "load": Callable,
                    "description": str,
                    "labels": list | tuple,
                    "weights": Weights | None,
                    "settings": Mapping,
                },
                **{
                    "precision": str,
                    "prompt": str | None,
                    "source": Path | None,
                    "question": Question | None,
                    "components": tuple,
                },
                **{
                    "with_prompts": Callable | None,
                    "with_question": Callable | None,
                    "with_variant": Callable | None,
                    "has_embeddings": bool,
                    "is_fusion": bool,
                },
            },
        )
        _check_precision(self.name, self.precision)
        object.__setattr__(self, "settings", _as_json_values(self.name, self.settings))
        object.__setattr__(self, "labels", tuple(self.labels))
        for name, values, kind in (("labels", self.labels, str), ("components", self.components, ModelSpec)):
            if foreign := [type(value).__name__ for value in values if not isinstance(value, kind)]:
                raise UsageError(
                    f"ModelSpec {self.name!r}: {name} must hold {kind.__name__} only; there is a {foreign[0]} among them."
                )
        space = LabelSpace.from_names(f"labels of {self.name}", self.labels)
        if all(e is None for e in space.order):
            raise UsageError(f"Model {self.name!r} declares no label that is one of the seven emotions.")

    def resolve(self, runtime: Runtime) -> Runtime:
        """`runtime` with `auto` precision replaced by this model's own."""
        return _resolve_precision(runtime, self.precision)

    def weights_path(self) -> Path | None:
        """Where the weights lie; None for a model without weights.

        Raises:
            WeightsMissingError: they, or those of a part, are not on this machine; the text says how to get
                them.
        """
        for part in self.components:
            part.weights_path()
        return _locate_weights(self.name, self.weights)

    def identity(self, runtime: Runtime) -> dict[str, Any]:
        """What decides the answers, as JSON: weights by content, code of one's own by content, settings,
        precision.

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
        return (
            own | {"components": [part.identity(runtime) for part in self.components]}
            if self.components
            else own
        )

    def embedding_identity(self, runtime: Runtime) -> dict[str, Any]:
        """What decides the directions of faces: `identity` without the model's name and its words. Raises as
        `identity`.
        """
        own = self.identity(runtime)
        settings = {key: value for key, value in own["settings"].items() if key != "prompts"}
        return {
            "weights": own["weights"],
            "code": own["code"],
            "settings": settings,
            "precision": own["precision"],
        }


@dataclass(frozen=True)
class RestorerSpec:
    """One restoration configuration, completely. `load`, `weights`, `settings` and `source` are as in
    `ModelSpec`.

    Attributes:
        precision: what `auto` means for it, as in `ModelSpec`; None for a restorer that computes the same in
            any precision.
        kept: it is slow enough that what it restored is kept on disk, face by face, for all models.
    """

    name: str
    load: Callable[[Runtime], Restorer]
    description: str = ""
    weights: Weights | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    precision: str | None = None
    cached: bool = False

    def __post_init__(self) -> None:
        _check_name("restorer", self.name)
        _check_fields(
            self, {"load": Callable, "description": str, "weights": Weights | None, "settings": Mapping}
        )
        _check_fields(self, {"source": Path | None, "precision": str | None, "cached": bool})
        if self.precision is not None:
            _check_precision(self.name, self.precision)
        object.__setattr__(self, "settings", _as_json_values(self.name, self.settings))

    def resolve(self, runtime: Runtime) -> Runtime:
        """See `ModelSpec.resolve`."""
        return runtime if self.precision is None else _resolve_precision(runtime, self.precision)

    def weights_path(self) -> Path | None:
        """See `ModelSpec.weights_path`."""
        return _locate_weights(self.name, self.weights)

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


def _locate_weights(name: str, weights: Weights | None) -> Path | None:
    """Where the weights of `name` lie; None for a record without weights.

    Raises:
        WeightsMissingError: they are not on this machine.
        WeightsError: `find` failed, or returned something else than a path.
    """
    if weights is None:
        return None
    with contained(
        WeightsError, f"The weights of {name} cannot be searched for, because Weights.find failed"
    ):
        path = weights.locate()
    if path is None:
        raise WeightsMissingError(
            f"the weights of {name} are not on this machine. Get them: {weights.install_hint}"
        )
    if not isinstance(path, Path):
        raise WeightsError(
            f"The Weights.find of {name} returned a {type(path).__name__}. Return a pathlib.Path, or None where there is no file."
        )
    return path


def _resolve_precision(runtime: Runtime, own: str) -> Runtime:
    """`runtime` with `auto` precision replaced by `own`, and `fast` by what the machine is fast at."""
    if runtime.precision != "auto":
        return runtime
    fast = "bf16" if own == AUTO_BF16 and bf16_is_fast(runtime.device) else "float32"
    return replace(runtime, precision=fast if own == AUTO_BF16 else own)


T = TypeVar("T")


def derived(spec: ModelSpec, change: Callable[[T], ModelSpec], argument: T) -> ModelSpec:
    """The model that one of `spec`'s own functions (`reprompted`, `asked`, `marked`) makes of an argument.

    Raises:
        UsageError: it failed, or made something else.
    """
    with defining_records(
        f"{spec.name} cannot be made with {type(argument).__name__} '{one_line(getattr(argument, 'name', str(argument)))}'"
    ):
        found = change(argument)
    if not isinstance(found, ModelSpec):
        raise UsageError(
            f"{spec.name} makes a {type(found).__name__} of another {type(argument).__name__}. It must make a ModelSpec."
        )
    return found


@contextmanager
def defining_records(failed: str, hint: str = "") -> Iterator[None]:
    """`contained` for code that defines records: every error is one of the command line."""
    try:
        with contained(UsageError, failed, hint):
            yield
    except UsageError:
        raise
    except FerModelsError as error:
        raise UsageError(f"{failed}: {error}") from error


def _check_name(kind: str, name: str) -> None:
    if (
        not isinstance(name, str)
        or not name
        or not name.isascii()
        or not all(c.isalnum() or c in "._:/@+-" for c in name)
    ):
        shown = f"'{one_line(name)}'" if isinstance(name, str) else f"A {type(name).__name__}"
        raise UsageError(f"{shown} cannot name a {kind}: use letters, digits and . _ : / @ + -")
    if len(name) > LONGEST_NAME:
        raise UsageError(
            f"'{one_line(name, 60)}' cannot name a {kind}: it has {len(name)} characters, {LONGEST_NAME} are allowed."
        )


def _check_fields(record: Any, kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(value := getattr(record, name), kind):
            wanted = str(getattr(kind, "__name__", kind)).replace("collections.abc.", "")
            raise UsageError(
                f"{type(record).__name__} {record.name!r}: {name} must be {wanted}; got a {type(value).__name__}."
            )


def _check_precision(name: str, precision: str) -> None:
    if precision not in (*PRECISIONS, AUTO_BF16):
        raise UsageError(
            f"{name!r} has precision '{one_line(precision)}'. Known: {', '.join((*PRECISIONS, AUTO_BF16))}."
        )


def _as_json_values(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain JSON values, which nobody changes later.

    Raises:
        UsageError: JSON has no word for them.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(settings), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The settings of {name!r} are part of its identity, so they must be JSON values: {described(error)}"
        ) from error
    return plain
