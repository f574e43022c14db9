"""Model records by the source in their names: timm, open_clip, the Hub, servers, one's own files."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fer_models.artifacts import hub, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers import hf_image_files
from fer_models.classifiers.base import Classifier
from fer_models.classifiers.network_file import NetworkFile, read_format
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import LABELS, LabelSpace
from fer_models.errors import FerModelsError, UsageError, WeightsError, one_line
from fer_models.zoo.model_name import ModelName, Source
from fer_models.zoo.models import (
    CLIP_NANO,
    DEFAULT_QUESTION,
    HUB_FILES,
    NANO_PRECISION,
    PHI3V_NANO,
    clip_spec,
    open_clip_spec,
    vlm_spec,
)
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import AUTO_BF16, ModelSpec, Runtime, Weights
from fer_models.zoo.suggestions import unknown_model

_OTHER_HUB_FILES = (
    "open_clip_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "*.txt", "*.model",
)  # fmt: skip
#: The largest JSON file of labels and preprocessing that is read, in bytes.
_LARGEST_SIDECAR = 1_000_000


@dataclass(frozen=True)
class Lookup:
    """The circumstances of looking up one name.

    Attributes:
        text: the complete name, as the user typed it.
        models: the registered models.
        folders: how many parent folders of a checkpoint its model's name shows.
    """

    text: str
    models: Registry[ModelSpec]
    folders: int = 0


def spec_from_source(name: ModelName, lookup: Lookup) -> ModelSpec:
    """The record of a name without variants, probe or components.

    Raises:
        UnknownNameError, UsageError: no such model, or no such file.
    """
    if "+" in name.network and name.source is not Source.ENDPOINT:
        raise unknown_model(f"+{name.network.split('+', 1)[1]}", lookup.text, lookup.models)
    return _SOURCES[name.source](name, lookup)


def _zoo_model(name: ModelName, lookup: Lookup) -> ModelSpec:
    if name.checkpoint is None:
        if name.network in lookup.models:
            return lookup.models[name.network]
        raise unknown_model(name.network, lookup.text, lookup.models)
    if name.network == CLIP_NANO.name:
        return _open_clip_model(replace(name, source=Source.OPEN_CLIP), lookup, precision=NANO_PRECISION)
    if name.network == PHI3V_NANO.name:
        return _hf_vlm(replace(name, source=Source.HF_VLM), lookup, precision=NANO_PRECISION)
    return _cnn_with_checkpoint(name, lookup)


def _cnn_with_checkpoint(name: ModelName, lookup: Lookup) -> ModelSpec:
    """A CNN with a checkpoint of one's own.

    A file of `fer-models train` holds its architecture, which must be that of the named network; for any
    other file the name is that of a timm network, and `FILE.json` next to it gives labels and input size.
    """
    network = f"{name.source.prefix}{name.network}"
    if name.checkpoint is None:
        raise UsageError(f"{network!r} needs a checkpoint: --model {network}@FILE.safetensors")
    path = _checkpoint_file(name, lookup)
    timm_name = name.network if name.source is Source.TIMM else None

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import cnn

        loaded = cnn.load(
            path,
            device=runtime.device,
            precision=runtime.precision,
            compiled=runtime.compiled,
            timm_name=timm_name,
        )
        _require_network(loaded.architecture.timm, timm_name or _shipped_network(name.network), name)
        return loaded

    sidecar = path.with_suffix(".json")
    return ModelSpec(
        _printed_name(name, path, path.stem, lookup),
        load,
        f"{network} with the weights in {path.name}",
        labels=_declared_labels(path, sidecar),
        weights=Weights(lambda: path, f"put the file at {path}"),
        settings={"network": network, "sidecar": _sidecar_text(sidecar)},
    )


def _sidecar_text(sidecar: Path) -> str | None:
    """The text of the JSON file next to a checkpoint; None without one.

    Raises:
        UsageError: it cannot be read, or is no small text file.
    """
    if not os.path.exists(sidecar):
        return None
    try:
        return read_text(sidecar, _LARGEST_SIDECAR)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The labels '{_excerpt(sidecar)}' cannot be read ({one_line(str(error))}). "
            "Repair or remove that file."
        ) from error


def _shipped_network(name: str) -> str | None:
    """The timm network of the shipped weights of a CNN; None for any other name."""
    from fer_models.classifiers import cnn

    if not weights.is_shipped(f"{name}.safetensors"):
        return None
    metadata = weights.metadata(weights.SHIPPED / f"{name}.safetensors")
    return str(parse_json(metadata["architecture"])["timm"]) if metadata["format"] == cnn.FORMAT else None


def _require_network(actual: str, expected: str | None, name: ModelName) -> None:
    """Check that a checkpoint holds the network of the model's name, else scores would have a wrong name.

    Args:
        actual: the timm network in the file.
        expected: the timm network of the name, with or without the tag of pretrained weights; None if any
            is valid.
        name: the model's.

    Raises:
        WeightsError: it holds another.
    """
    if expected is not None and actual.partition(".")[0] != expected.partition(".")[0]:
        correct_name = replace(name, source=Source.TIMM, network=actual)
        raise WeightsError(
            f"'{_excerpt(name.checkpoint or '')}' holds the network {actual}, and {name.network} is "
            f"{expected}. Name what it holds: --model {_excerpt(str(correct_name))}"
        )


def _open_clip_model(name: ModelName, lookup: Lookup, precision: str = AUTO_BF16) -> ModelSpec:
    """An open_clip model, by architecture and tag or with a checkpoint of one's own."""
    text = str(name)
    if name.checkpoint is None:
        architecture, slash, tag = name.network.rpartition("/")
        if not slash:
            raise UsageError(
                f"{text!r} needs a checkpoint: --model {text}/TAG, or --model {text}@FILE.safetensors"
            )
        from fer_models.classifiers import clip

        return open_clip_spec(text, architecture, tag, clip.pretrained_config(architecture, tag)[0])
    file = _checkpoint_file(name, lookup)

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load(
            path,
            prompts,
            architecture=name.network,
            preprocess=clip.published_preprocessing(name.network),
            device=runtime.device,
            precision=runtime.precision,
            compiled=runtime.compiled,
        )

    return clip_spec(
        _printed_name(name, file, file.stem, lookup),
        f"{name.network} (open_clip) with the weights in {file.name}",
        Weights(lambda: file, f"put the file at {file}"),
        load,
        None,
        {"network": name.network},
        precision=precision,
    )


def _hub_clip(name: ModelName, lookup: Lookup) -> ModelSpec:
    """An open_clip model in a repository on the Hub."""
    text = str(name)
    given = text.removeprefix(name.source.prefix)
    repository = hub.check_repository(given, "hf-hub:ORGANISATION/NAME")

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load_repository(
            path, prompts, device=runtime.device, precision=runtime.precision, compiled=runtime.compiled
        )

    def locate() -> Path | None:
        file = hub.find_cached(repository, HUB_FILES)
        return None if file is None else file.parent  # preprocessing and vocabulary decide predictions too

    where = Weights(
        locate,
        f"fer-models weights fetch {text}",
        lambda: hub.fetch(repository, HUB_FILES, _OTHER_HUB_FILES).parent,
    )
    description = f"{repository} on the Hub (open_clip), zero-shot"
    return clip_spec(text, description, where, load, None, {"network": text})


def _hf_vlm(name: ModelName, lookup: Lookup, precision: str = AUTO_BF16) -> ModelSpec:
    """A vision-language model that transformers loads: a repository on the Hub, or a folder."""
    if name.checkpoint is None:
        repository = hub.check_repository(name.network, "hf-vlm:ORGANISATION/NAME")
        where = Weights(
            lambda: hub.find_cached_model(repository),
            f"fer-models weights fetch {name}",
            lambda: hub.fetch_model(repository),
        )
        return vlm_spec(str(name), f"{repository} on the Hub (transformers), zero-shot", where)
    folder = Path(name.checkpoint)
    if not os.path.isfile(folder / "config.json"):
        raise UsageError(
            f"--model {_excerpt(lookup.text)}: '{_excerpt(folder)}' holds no config.json. "
            "Give a folder with a model as transformers saves one."
        )
    real = folder.resolve()
    return vlm_spec(
        _printed_name(name, real, real.name, lookup),
        f"the vision-language model in {folder.name}, zero-shot",
        Weights(lambda: folder, f"put the model at {folder}"),
        precision=precision,
    )


def _hf_image(name: ModelName, lookup: Lookup) -> ModelSpec:
    """An image classifier of transformers: a repository on the Hub, or a folder.

    `@FILE.json` after a repository's name declares its classes; `fer-models.json` in a folder does so there.
    """
    path = None if name.checkpoint is None else Path(name.checkpoint)
    declaration = path if path is not None and os.path.isfile(path) else None
    if path is None or declaration:
        repository = hub.check_repository(name.network, "hf:ORGANISATION/NAME")
        where = Weights(
            lambda: hub.find_cached_model(repository),
            f"fer-models weights fetch {replace(name, checkpoint=None)}",
            # `*` also matches folders, such as those of checkpoints during training.
            lambda: hub.fetch_model(repository, hf_image_files.PATTERNS, excluded=["*/*"]),
        )
        description, printed = f"{repository} on the Hub (transformers)", str(name)
        if declaration:
            printed = _printed_name(name, declaration, declaration.stem, lookup)
    else:
        if not os.path.isfile(path / "config.json"):
            raise UsageError(
                f"--model {_excerpt(lookup.text)}: '{_excerpt(path)}' holds no config.json. Give a folder "
                "with a model as transformers saves one, or the JSON file of labels of a model on the Hub."
            )
        real = path.resolve()
        where = Weights(lambda: real, f"put the model at {path}")
        description = f"the image classifier in {real.name} (transformers)"
        printed = _printed_name(name, real, real.name, lookup)

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import hf_image

        folder = where.locate()
        assert folder is not None  # `ModelSpec.weights_path` has refused missing files before
        return hf_image.load(
            folder, declaration=declaration, device=runtime.device, precision=runtime.precision
        )

    labels = _hf_image_labels(where.locate(), declaration)
    return ModelSpec(printed, load, description, labels=labels, weights=where)


def _endpoint(name: ModelName, lookup: Lookup) -> ModelSpec:
    """A model behind an OpenAI-compatible server."""
    if not name.network or not name.checkpoint:
        raise UsageError(
            f"'{_excerpt(lookup.text)}' names no server. Write endpoint:MODEL@URL, "
            "such as endpoint:Qwen/Qwen2.5-VL-3B-Instruct@http://localhost:8000/v1"
        )
    from fer_models.classifiers.vlm.endpoint import require_no_credentials

    require_no_credentials(name.checkpoint)
    return _endpoint_spec(name.network, name.checkpoint, str(name), questions.load(DEFAULT_QUESTION))


def _endpoint_spec(model: str, url: str, name: str, question: Question) -> ModelSpec:
    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.vlm.endpoint import Endpoint

        return Endpoint(url, model, question)

    return ModelSpec(
        name,
        load,
        f"{model} on the server at {url}",
        settings={"server": url, "question": question.as_json(), "answer": "generate"},
        precision=None,
        prompt=question.name,
        question=question,
        with_question=lambda other: _endpoint_spec(model, url, name, other),
    )


def _network_file(name: ModelName, lookup: Lookup) -> ModelSpec:
    """A network in an ONNX or TFLite file, with the description of its input and output."""
    kind, packages = _NETWORK_FILES[name.source]
    if name.checkpoint is None:
        raise UsageError(
            f"'{_excerpt(lookup.text)}': all after {name.source.prefix} is the path of one file, "
            "so such a model cannot be a part of a fusion."
        )
    path = _checkpoint_file(name, lookup, kind)
    if absent := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise UsageError(
            f"--model {_excerpt(lookup.text)} needs the package {absent[0]}: "
            f'pip install "fer-models[{name.source.value}]"'
        )
    file = _read_network_file(name.source, path)
    network_format = read_format(file)

    def load(runtime: Runtime) -> Classifier:
        if name.source is Source.TFLITE:
            from fer_models.classifiers import tflite

            return tflite.load(path, network_format)
        from fer_models.classifiers import onnx

        return onnx.load(path, network_format, runtime.device)

    return ModelSpec(
        _printed_name(name, path, path.stem, lookup),
        load,
        f"the network in {path.name}",
        precision=None,
        labels=network_format.labels,
        weights=Weights(lambda: path, f"put the file at {path}"),
        settings={
            # No prediction depends on the last two.
            "format": network_format.as_json() | {"same_as": None, "quantization": None},
            "data_files": {
                data.relative_to(path.parent.resolve()).as_posix(): sha256_of(data)
                for data in file.data_files
            },
        },
        same_as=network_format.same_as,
        quantization=network_format.quantization,
    )


def _read_network_file(source: Source, path: Path) -> NetworkFile:
    if source is Source.TFLITE:
        from fer_models.classifiers import tflite_file

        return tflite_file.read(path)
    from fer_models.classifiers import onnx_file

    return onnx_file.read(path)


def _python_file(name: ModelName, lookup: Lookup) -> ModelSpec:
    """A Python file defines models, it is none: `resolve.selected_models` takes those it defines."""
    raise unknown_model(name.network, lookup.text, lookup.models)


_SOURCES: Mapping[Source, Callable[[ModelName, Lookup], ModelSpec]] = {
    Source.ZOO: _zoo_model,
    Source.TIMM: _cnn_with_checkpoint,
    Source.OPEN_CLIP: _open_clip_model,
    Source.HF_HUB: _hub_clip,
    Source.HF_VLM: _hf_vlm,
    Source.HF_IMAGE: _hf_image,
    Source.ENDPOINT: _endpoint,
    Source.ONNX: _network_file,
    Source.TFLITE: _network_file,
    Source.PYTHON_FILE: _python_file,
}
#: The kind of such a file, and the packages that read and run it.
_NETWORK_FILES = {
    Source.ONNX: ("an ONNX", ("onnx", "onnxruntime")),
    Source.TFLITE: ("a TFLite", ("ai_edge_litert",)),
}


def _checkpoint_file(name: ModelName, lookup: Lookup, kind: str = "a safetensors") -> Path:
    path = Path(name.checkpoint or "")
    if not os.path.isfile(path):
        raise UsageError(
            f"--model {_excerpt(lookup.text)}: '{_excerpt(path)}' does not exist, or is no file. "
            f"Give {kind} file."
        )
    return path


def _printed_name(name: ModelName, path: Path, file_name: str, lookup: Lookup) -> str:
    """The name with `file_name` for the path of its checkpoint, after as many parent folders as asked for."""
    folders = Path(os.path.abspath(path)).parts[1:-1]
    shown = folders[max(0, len(folders) - lookup.folders) :]
    return str(replace(name, checkpoint="/".join((*shown, file_name))))


def _excerpt(text: str | Path) -> str:
    return one_line(str(text), 120)


def _declared_labels(path: Path, sidecar: Path) -> tuple[str, ...]:
    """The label order that a checkpoint declares, without loading its tensors; ours where it declares none.

    An invalid order is an error of `cnn.load`.
    """
    try:
        declared = weights.metadata(path).get("labels")
        names = parse_json(declared) if declared is not None else parse_json(read_text(sidecar))["labels"]
        labels = tuple(names)
        LabelSpace.from_names("labels", labels)
        return labels
    except (FerModelsError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return LABELS


def _hf_image_labels(folder: Path | None, declaration: Path | None) -> tuple[str, ...]:
    """The label order of an image classifier on this machine; ours where there is none, or an invalid one.

    An invalid order is an error of `hf_image.load`.
    """
    try:
        return LABELS if folder is None else hf_image_files.read_labels(folder, declaration)
    except WeightsError:
        return LABELS
