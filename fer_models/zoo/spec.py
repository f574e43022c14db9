"""Records of models and restorers: everything about them except the values of their weights.

`load` is the only part of a record that may import a heavy library.
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
from fer_models.third_party_code import describe_exception, wrap_errors

PRECISIONS = ("float32", "bf16", "fp16")
#: The precision of a model that depends on the machine.
AUTO_BF16 = "fast"
DEVICES = ("auto", "cpu", "cuda", "mps")
#: The longest name, in characters: it becomes part of folder names, which have at most 255 bytes on most
#: systems.
LONGEST_NAME = 150


@dataclass(frozen=True)
class Runtime:
    """Device and precision of a model, and permission to download.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `auto` (the model's own), `float32`, `bf16` or `fp16`.
        download: missing files may be downloaded (currently: the dataset).
        compiled: compile the networks of timm and open_clip models with torch.compile.
    """

    device: str = "auto"
    precision: str = "auto"
    download: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Weights:
    """Weights file or folder of a model, on this machine.

    Attributes:
        locate: returns the path, or None where it is not on this machine.
        install_hint: the command that gets it.
        fetch: downloads it, for `fer-models weights fetch`; None where that is impossible.
    """

    locate: Callable[[], Path | None]
    install_hint: str
    fetch: Callable[[], Path] | None = None


#: The types of a model's fields; they are checked at run time, because users write records.
_MODEL_FIELDS: Mapping[str, Any] = {
    "load": Callable,
    "description": str,
    "labels": list | tuple,
    "weights": Weights | None,
    "settings": Mapping,
    "precision": str | None,
    "prompt": str | None,
    "source": Path | None,
    "question": Question | None,
    "components": tuple,
    "with_prompts": Callable | None,
    "with_question": Callable | None,
    "with_variant": Callable | None,
    "has_embeddings": bool,
    "is_fusion": bool,
    "same_as": str | None,
    "quantization": str | None,
}


@dataclass(frozen=True)
class ModelSpec:
    """Record of a model.

    Attributes:
        name: its name on the command line and in baselines: letters, digits and `._:/@+-`.
        load: makes the classifier, with the `Runtime`; called again where memory was short.
        description: one line for `fer-models list`.
        labels: the order of the model's classes, by name.
        weights: its weights file, or None for a model without one.
        settings: everything else that decides its predictions (preprocessing, prompts, a version): JSON
            values. Part of its identity.
        precision: the meaning of `auto` for it: one of `PRECISIONS`, or `fast` for bf16 where the machine
            computes it fast, and float32 elsewhere. None for a model that no option gives another precision,
            such as a TFLite file.
        prompt: the name of its prompt set or question, for zero-shot models.
        source: the file that defines it, if it is not of the zoo.
        with_prompts: makes the same model with another prompt set.
        question: the question of a vision-language model.
        with_question: makes the same model with another question.
        with_variant: makes a variant of the model, such as `+likelihood`; raises `UsageError` for an unknown
            one.
        has_embeddings: it is an `Embedding`: the embeddings of faces are cached, and its prompts
            (`settings["prompts"]`) do not change them.
        is_fusion: it is a late fusion: it pools the predictions of its components, and its weights are
            `fusion.FusionWeights`.
        components: the models it is made of: those of a fusion, or the model whose embeddings a linear probe
            uses.
        same_as: the name of the model that it was exported from, such as `vgg19`: the parity check compares
            both. No prediction depends on it, so it is not part of the identity.
        quantization: how the numbers of an export were made smaller, such as `int8-static`; None for an
            export in float32, which must agree with `same_as`.
    """

    name: str
    load: Callable[[Runtime], Classifier]
    description: str = ""
    labels: tuple[str, ...] = LABELS
    weights: Weights | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str | None = "float32"
    prompt: str | None = None
    source: Path | None = None
    with_prompts: Callable[[PromptSet], ModelSpec] | None = None
    question: Question | None = None
    with_question: Callable[[Question], ModelSpec] | None = None
    with_variant: Callable[[str], ModelSpec] | None = None
    has_embeddings: bool = False
    is_fusion: bool = False
    components: tuple[ModelSpec, ...] = ()
    same_as: str | None = None
    quantization: str | None = None

    def __post_init__(self) -> None:
        _check_name("model", self.name)
        _check_fields(self, _MODEL_FIELDS)
        if self.precision is not None:
            _check_precision(self.name, self.precision)
        object.__setattr__(self, "settings", _as_json_values(self.name, self.settings))
        object.__setattr__(self, "labels", tuple(self.labels))
        for name, values, kind in (("labels", self.labels, str), ("components", self.components, ModelSpec)):
            if others := [type(value).__name__ for value in values if not isinstance(value, kind)]:
                raise UsageError(
                    f"ModelSpec {self.name!r}: {name} must hold {kind.__name__} only; "
                    f"there is a {others[0]} among them."
                )
        space = LabelSpace.from_names(f"labels of {self.name}", self.labels)
        if all(e is None for e in space.order):
            raise UsageError(f"Model {self.name!r} declares no label that is one of the seven emotions.")

    def resolve(self, runtime: Runtime) -> Runtime:
        """Replace `auto` precision by this model's; a model made of others computes in theirs.

        It stays `auto` where they differ. A model without a choice of precision has `float32`.
        """
        if self.precision is None:
            return replace(runtime, precision="float32")
        if not self.components or runtime.precision != "auto":
            return _resolve_precision(runtime, self.precision)
        names = {component.resolve(runtime).precision for component in self.components}
        return replace(runtime, precision=names.pop()) if len(names) == 1 else runtime

    def weights_path(self) -> Path | None:
        """The path of the weights; None for a model without weights.

        Raises:
            WeightsMissingError: they, or those of a component, are not on this machine; the text has the
                command that gets them.
        """
        for component in self.components:
            component.weights_path()
        return _locate_weights(self.name, self.weights)

    def identity(self, runtime: Runtime) -> dict[str, Any]:
        """Everything that decides the predictions, as JSON: weights and code by content, settings, precision.

        Raises:
            WeightsMissingError: see `weights_path`.
        """
        path = self.weights_path()
        identity: dict[str, Any] = {
            "model": self.name,
            "weights": sha256_of(path) if path else None,
            "code": sha256_of(self.source) if self.source else None,
            "labels": list(self.labels),
            "settings": dict(self.settings),
            "precision": self.resolve(runtime).precision,
        }
        if runtime.compiled:  # not a field at all otherwise: earlier keys stay valid
            identity["compiled"] = True
        if self.components:
            identity["components"] = [component.identity(runtime) for component in self.components]
        return identity

    def embedding_identity(self, runtime: Runtime) -> dict[str, Any]:
        """Everything that decides the embeddings of faces: `identity` without the name and the prompts.

        Raises as `identity`.
        """
        identity = self.identity(runtime)
        settings = {key: value for key, value in identity["settings"].items() if key != "prompts"}
        fields = {
            key: identity[key] for key in ("weights", "code", "precision", "compiled") if key in identity
        }
        return fields | {"settings": settings}


@dataclass(frozen=True)
class RestorerSpec:
    """Record of a restorer.

    Attributes:
        name: as in `ModelSpec`.
        load: makes the restorer; called once per run, with the `Runtime`.
        description: as in `ModelSpec`.
        weights: as in `ModelSpec`.
        settings: as in `ModelSpec`.
        source: as in `ModelSpec`.
        precision: the meaning of `auto` for it, as in `ModelSpec`; None for a restorer that computes the same
            in any precision.
        cached: it is so slow that its restored faces are cached on disk, for all models.
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
        """Everything that decides the restored pixels, as JSON."""
        path = self.weights_path()
        identity = {
            "restorer": self.name,
            "weights": sha256_of(path) if path else None,
            "code": sha256_of(self.source) if self.source else None,
            "settings": dict(self.settings),
        }
        return (
            identity if self.precision is None else identity | {"precision": self.resolve(runtime).precision}
        )


def _locate_weights(name: str, weights: Weights | None) -> Path | None:
    """The path of the weights of `name`; None for a record without weights.

    Raises:
        WeightsMissingError: they are not on this machine.
        WeightsError: `locate` failed, or returned something else than a path.
    """
    if weights is None:
        return None
    with wrap_errors(
        WeightsError, f"The weights of {name} cannot be searched for, because Weights.locate failed"
    ):
        path = weights.locate()
    if path is None:
        raise WeightsMissingError(
            f"the weights of {name} are not on this machine. Get them: {weights.install_hint}"
        )
    if not isinstance(path, Path):
        raise WeightsError(
            f"The Weights.locate of {name} returned a {type(path).__name__}. "
            "Return a pathlib.Path, or None where there is no file."
        )
    return path


def _resolve_precision(runtime: Runtime, precision: str) -> Runtime:
    """Replace `auto` precision by `precision`, and `fast` by what the machine computes fast."""
    if runtime.precision != "auto":
        return runtime
    if precision == AUTO_BF16:
        precision = "bf16" if bf16_is_fast(runtime.device) else "float32"
    return replace(runtime, precision=precision)


T = TypeVar("T")


def derive(spec: ModelSpec, change: Callable[[T], ModelSpec], argument: T) -> ModelSpec:
    """Make a model with one of `spec`'s functions: `with_prompts`, `with_question` or `with_variant`.

    The model has the source file of `spec`, so that it is identified and checked as `spec` is.

    Raises:
        UsageError: the function failed, or returned something else.
    """
    kind, shown = type(argument).__name__, one_line(getattr(argument, "name", str(argument)))
    with defining_records(f"{spec.name} cannot be made with {kind} '{shown}'"):
        changed = change(argument)
    if not isinstance(changed, ModelSpec):
        raise UsageError(
            f"{spec.name} makes a {type(changed).__name__} of another {kind}. It must make a ModelSpec."
        )
    return changed if changed.source is not None else replace(changed, source=spec.source)


@contextmanager
def defining_records(failed: str, hint: str = "") -> Iterator[None]:
    """Run code that defines records, as `wrap_errors`; every error becomes a `UsageError`."""
    try:
        with wrap_errors(UsageError, failed, hint):
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
            f"'{one_line(name, 60)}' cannot name a {kind}: it has {len(name)} characters, "
            f"{LONGEST_NAME} are allowed."
        )


def _check_fields(record: Any, kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if not isinstance(value := getattr(record, name), kind):
            expected = str(getattr(kind, "__name__", kind)).replace("collections.abc.", "")
            raise UsageError(
                f"{type(record).__name__} {record.name!r}: {name} must be {expected}; "
                f"got a {type(value).__name__}."
            )


def _check_precision(name: str, precision: str) -> None:
    if precision not in (*PRECISIONS, AUTO_BF16):
        raise UsageError(
            f"{name!r} has precision '{one_line(precision)}'. Known: {', '.join((*PRECISIONS, AUTO_BF16))}."
        )


def _as_json_values(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the settings as JSON values.

    Raises:
        UsageError: JSON cannot represent them.
    """
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(settings), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The settings of {name!r} are part of its identity, so they must be JSON values: "
            f"{describe_exception(error)}"
        ) from error
    return copied
