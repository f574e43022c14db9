"""From a name on the command line to a model: one of the zoo, one of the user's, or one that is made from
them.

A name says all that is needed: `vgg19`, `vgg19@my.safetensors`, `timm:resnet18@my.safetensors`, `vgg19+tta`,
`vgg19+resnet50`, `clip-nano-probe`, `open_clip:ViT-B-32/laion2b_s34b_b79k`, `hf-hub:someone/model`,
`endpoint:model@http://localhost:8000/v1`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from fer_models.artifacts import hub, weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers import fusion, probe
from fer_models.classifiers.base import Classifier, Embedding
from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm import questions
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import LABELS, LabelSpace
from fer_models.errors import FerModelsError, UsageError, one_line
from fer_models.zoo.grammar import PROBE, TTA, base_name, mark_of, parts_of
from fer_models.zoo.models import (
    CLIP_NANO,
    DEFAULT_QUESTION,
    HUB_FILES,
    MODELS,
    PHI3V_NANO,
    clip_spec,
    open_clip_spec,
    vlm_spec,
)
from fer_models.zoo.registry import Registry, from_entry_points, from_file
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import LONGEST_NAME, ModelSpec, RestorerSpec, Runtime, Weights, derived

T = TypeVar("T")
#: All models, all restorers, notes on replaced records, and the selected models.
Chosen: TypeAlias = tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str], Registry[ModelSpec]]


def available_models(
    model_files: list[Path],
) -> tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str]]:
    """Everything that can be evaluated: the zoo, what installed packages add, and what the user's files add
    or replace.

    Returns:
        models, restorers, and one line per record of the zoo that a user's file replaces.
    """
    return _with_files(_read_files(model_files))


def _read_files(paths: Sequence[Path]) -> dict[Path, tuple[list[ModelSpec], list[RestorerSpec]]]:
    """The records of each file, by its real path: a file runs once, however often and by whatever path it is
    named.

    Raises:
        UsageError: as `from_file`, or two files define records of one name.
    """
    files: dict[Path, tuple[list[ModelSpec], list[RestorerSpec]]] = {}
    origin: dict[tuple[str, str], Path] = {}
    for path in paths:
        if (real := _real(path)) in files:
            continue
        models, restorers = files[real] = from_file(path)
        for kind, name in (
            *(("model", spec.name) for spec in models),
            *(("restorer", spec.name) for spec in restorers),
        ):
            if (first := origin.setdefault((kind, name), path)) != path:
                raise UsageError(
                    f"{first} and {path} both define a {kind} named {name!r}. Give one of them another name."
                )
    return files


def _real(path: str | Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # characters that no path has
        return Path(path)


def _with_files(
    files: Mapping[Path, tuple[list[ModelSpec], list[RestorerSpec]]],
) -> tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str]]:
    models, restorers = MODELS.copy(), RESTORERS.copy()
    added_models, added_restorers = from_entry_points()
    models.add(*added_models)
    restorers.add(*added_restorers)
    notes = []
    for path, (own_models, own_restorers) in files.items():
        for name in models.override(*own_models) + restorers.override(*own_restorers):
            notes.append(f"{name} comes from {path.name}, in place of the one already known")
    return models, restorers, notes


def selected_models(model_names: Sequence[str], model_files: Sequence[Path]) -> Chosen:
    """Models and restorers as `known` returns them, and the models that `model_names` selects.

    No name selects all models. A name that ends in `.py` selects every model of that file.

    Raises:
        UnknownNameError, UsageError: as `known` and `select`.
    """
    paths = [*model_files, *(Path(name) for name in model_names if name.endswith(".py"))]
    files = _read_files(paths)
    models, restorers, notes = _with_files(files)
    if not model_names:
        return models, restorers, notes, models
    selected: list[str] = []
    for name in model_names:
        selected += [spec.name for spec in files[_real(name)][0]] if name.endswith(".py") else [name]
    specs = [resolve_model(name, models) for name in dict.fromkeys(selected)]
    return models, restorers, notes, Registry("model", *specs)


def with_recorded(models: Registry[ModelSpec], recorded: Iterable[str]) -> Registry[ModelSpec]:
    """`models`, and each of the `recorded` names that can be made from them; others are left out."""
    specs = []
    for name in recorded:
        if name not in models:
            with suppress(FerModelsError):
                specs.append(resolve_model(name, models))
    return Registry(models.kind, *models, *specs)


def resolve_model(name: str, models: Registry[ModelSpec]) -> ModelSpec:
    """The model called `name`: a registered one, `NAME@FILE` (weights of one's own) or `timm:NETWORK@FILE`.

    `NAME+tta` (and `NAME+tta@FILE`) is the same model with test-time augmentation: the mean of a face and its
    mirror image. `open_clip:ARCHITECTURE/TAG`, `open_clip:ARCHITECTURE@FILE` and `hf-hub:ORGANISATION/NAME`
    are models of open_clip's. `hf-vlm:ORGANISATION/NAME` is a vision-language model on the Hub,
    `hf-vlm:NAME@FOLDER` one in a folder; models that write are asked how likely they find each emotion as
    `NAME+likelihood` (`+likelihood-normalized`, `+likelihood-calibrated`), and Phi-3.5-vision looks at
    several crops as `NAME+4crops`. `endpoint:MODEL@URL` is a model behind an OpenAI-compatible server.
    `NAME-probe` is a linear probe on what a CLIP model sees, as `fer-models probe` fitted it.
    `NAME+NAME` is their late fusion, with the exponents that `fer-models fuse` fitted.

    Raises:
        UnknownNameError, UsageError: no such model, or no such file.
    """
    if name in models:
        return models[name]
    if len(network := name.partition("@")[0]) > LONGEST_NAME:
        raise UsageError(
            f"--model '{one_line(name, 60)}': its name has {len(network):,} characters, {LONGEST_NAME} are allowed."
        )
    if len(parts_of(name)) > 1:
        return _fused([resolve_model(part, models) for part in parts_of(name)])
    if mark := mark_of(name):
        return _marked(resolve_model(base_name(name), models), mark)
    if name.endswith(PROBE) and "@" not in name:
        return _probed(resolve_model(name.removesuffix(PROBE), models))
    if name.startswith("endpoint:"):
        return _endpoint(name, questions.load(DEFAULT_QUESTION))
    if name.startswith(("open_clip:", "hf-hub:")):
        return _open_clip_spec(name)
    if name.startswith("hf-vlm:"):
        return _hf_vlm_spec(name)
    if "@" not in name:
        if name.startswith("timm:"):
            raise UsageError(f"{name!r} needs a checkpoint: --model {name}@FILE.safetensors")
        return models[name]
    network, file = name.split("@", 1)
    if network == CLIP_NANO.name:
        return _open_clip_spec(f"open_clip:{name}")
    if network == PHI3V_NANO.name:
        return _hf_vlm_spec(f"hf-vlm:{name}")
    path = Path(file)
    if not os.path.isfile(path):
        raise UsageError(
            f"--model {_short(name)}: '{_short(path)}' does not exist, or is no file. Give a safetensors file."
        )
    timm_name = network.removeprefix("timm:") if network.startswith("timm:") else None

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers import cnn

        return cnn.load(path, device=runtime.device, precision=runtime.precision, timm_name=timm_name)

    where = Weights(lambda: path, f"put the file at {path}")
    sidecar = path.with_suffix(".json")
    settings = {
        "network": network,
        "sidecar": sidecar.read_text(errors="replace") if os.path.isfile(sidecar) else None,
    }
    return ModelSpec(
        f"{network}@{path.stem}",
        load,
        f"{network} with the weights in {path.name}",
        labels=_labels_in(path, sidecar),
        weights=where,
        settings=settings,
    )


def _short(given: str | Path) -> str:
    return one_line(str(given), 120)


def _marked(spec: ModelSpec, mark: str) -> ModelSpec:
    if mark in re.findall(r"\+[^+@]+", spec.name.partition("@")[0]):
        raise UsageError(f"{spec.name} has {mark} already. Write it once.")
    if mark == TTA:
        return _augmented(spec)
    if spec.with_variant is None:
        raise UsageError(
            f"{spec.name} cannot be asked {mark}: only a vision-language model that runs here can."
        )
    return derived(spec, spec.with_variant, mark)


def _hf_vlm_spec(name: str) -> ModelSpec:
    """Any vision-language model of transformers': a repository on the Hub, or a folder."""
    repository, at, file = name.removeprefix("hf-vlm:").partition("@")
    if not at:
        repository = hub.check_repository(repository, "hf-vlm:ORGANISATION/NAME")
        where = Weights(
            lambda: hub.find_cached_model(repository),
            f"fer-models weights fetch {name}",
            lambda: hub.fetch_model(repository),
        )
        return vlm_spec(name, f"{repository} on the Hub (transformers), asked in words", where)
    folder = Path(file)
    if not os.path.isfile(folder / "config.json"):
        raise UsageError(
            f"--model {_short(name)}: '{_short(folder)}' holds no config.json. Give a folder with a model as transformers saves one."
        )
    where = Weights(lambda: folder, f"put the model at {folder}")
    return vlm_spec(
        f"hf-vlm:{repository}@{folder.resolve().name}",
        f"the vision-language model in {folder.name}, asked in words",
        where,
    )


def _augmented(spec: ModelSpec) -> ModelSpec:
    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.tta import flip_tta

        return flip_tta(spec.load(runtime))

    network, at, file = spec.name.partition("@")
    words, question, marked = spec.with_prompts, spec.with_question, spec.with_variant
    return replace(
        spec,
        name=f"{network}{TTA}{at}{file}",
        load=load,
        description=f"{spec.description}; mean of face and mirror image",
        settings={**spec.settings, "tta": "mean of face and mirror image"},
        with_prompts=None if words is None else _then(words, _augmented),
        with_question=None if question is None else _then(question, _augmented),
        with_variant=None if marked is None else _then(marked, _augmented),
        has_embeddings=False,  # the mirror image has a direction of its own, so both are asked directly
        is_fusion=False,
    )


def _then(
    first: Callable[[T], ModelSpec], second: Callable[[ModelSpec], ModelSpec]
) -> Callable[[T], ModelSpec]:
    return lambda other: second(first(other))


def _open_clip_spec(name: str) -> ModelSpec:
    """Any model of open_clip's: by its name and tag, with a checkpoint of one's own, or a repository on the
    Hub.
    """
    if name.startswith("hf-hub:"):
        return _hub_clip(name)
    network, at, file = name.removeprefix("open_clip:").partition("@")
    if not at:
        architecture, slash, tag = network.rpartition("/")
        if not slash:
            raise UsageError(
                f"{name!r} needs a checkpoint: --model {name}/TAG, or --model {name}@FILE.safetensors"
            )
        from fer_models.classifiers import clip

        return open_clip_spec(name, architecture, tag, clip.of_tag(architecture, tag)[0])
    path = Path(file)
    if not os.path.isfile(path):
        raise UsageError(
            f"--model {_short(name)}: '{_short(path)}' does not exist, or is no file. Give a safetensors file."
        )

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load(
            path, prompts, architecture=network, device=runtime.device, precision=runtime.precision
        )

    where = Weights(lambda: path, f"put the file at {path}")
    description = f"{network} (open_clip) with the weights in {path.name}"
    return clip_spec(f"open_clip:{network}@{path.stem}", description, where, load, None, {"network": network})


def _hub_clip(name: str) -> ModelSpec:
    repository = hub.check_repository(name.removeprefix("hf-hub:"), "hf-hub:ORGANISATION/NAME")

    def load(path: Path, prompts: PromptSet, runtime: Runtime) -> Classifier:
        from fer_models.classifiers import clip

        return clip.load_repository(path.parent, prompts, device=runtime.device, precision=runtime.precision)

    beside, files = ("open_clip_config.json", "*token*", "*.txt", "*.model"), HUB_FILES
    where = Weights(
        lambda: hub.find_cached(repository, files),
        f"fer-models weights fetch {name}",
        lambda: hub.fetch(repository, files, beside),
    )
    return clip_spec(
        name, f"{repository} on the Hub (open_clip), zero-shot", where, load, None, {"network": name}
    )


def _endpoint(name: str, question: Question) -> ModelSpec:
    model, at, url = name.removeprefix("endpoint:").partition("@")
    if not at or not model or not url:
        raise UsageError(
            f"'{_short(name)}' names no server. Write endpoint:MODEL@URL, such as endpoint:Qwen/Qwen2.5-VL-3B-Instruct@http://localhost:8000/v1"
        )

    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.vlm.endpoint import Endpoint

        return Endpoint(url, model, question)

    return ModelSpec(
        name,
        load,
        f"{model} as the server at {url} answers",
        settings={"server": url, "question": question.as_json(), "answer": "generate"},
        prompt=question.name,
        question=question,
        with_question=lambda other: _endpoint(name, other),
    )


def with_question(models: Registry[ModelSpec], question: Question) -> Registry[ModelSpec]:
    """The same models, those that write asked with `question`."""
    return Registry(
        models.kind,
        *(
            derived(spec, spec.with_question, question) if spec.with_question is not None else spec
            for spec in models
        ),
    )


def with_prompts(models: Registry[ModelSpec], prompts: PromptSet) -> Registry[ModelSpec]:
    """The same models, those that are asked in words with `prompts`."""
    return Registry(
        models.kind,
        *(
            derived(spec, spec.with_prompts, prompts) if spec.with_prompts is not None else spec
            for spec in models
        ),
    )


def _probed(base: ModelSpec) -> ModelSpec:
    """A linear probe on the directions that `base` gives: a model whose weights were fitted for exactly these
    weights of `base`.
    """
    if not base.has_embeddings:
        raise UsageError(f"{base.name} has no directions of faces to probe: only CLIP models have.")
    name = f"{base.name}{PROBE}"

    def find() -> Path | None:
        path, eyes = weights.find(name), base.weights_path()
        if path is None or probe.read(path).base != (None if eyes is None else sha256_of(eyes)):
            return None  # not fitted, or for other weights, which is as good as none
        return path

    def load(runtime: Runtime) -> Classifier:
        path, eyes = find(), base.load(base.resolve(runtime))
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        assert isinstance(eyes, Embedding)
        return probe.LinearProbe(eyes, probe.read(path))

    command = f"fer-models probe {base.name} --dataset fer2013 --data-root FOLDER"
    return ModelSpec(
        name,
        load,
        f"linear probe on what {base.name} sees",
        weights=Weights(find, command),
        has_embeddings=True,
        components=(base,),
    )


def _fused(parts: Sequence[ModelSpec]) -> ModelSpec:
    """Late fusion of `parts`: a model whose weights are the exponents that were fitted for exactly these
    weights of its parts.
    """
    name = "+".join(part.name for part in parts)
    command = f"fer-models fuse {' '.join(part.name for part in parts)} --dataset fer2013 --data-root FOLDER"
    path = weights.find(name, ".json")
    said = None if path is None else fusion.read(path)

    def find() -> Path | None:
        if said is not None and [
            sha256_of(p) if (p := part.weights_path()) else None for part in parts
        ] != list(said.weights):
            return None  # fitted for other weights: as good as none
        return path

    def load(runtime: Runtime) -> Classifier:
        assert said is not None  # `ModelSpec.weights_path` has refused a missing file before
        return fusion.LateFusion([part.load(part.resolve(runtime)) for part in parts], said.exponents)

    return ModelSpec(
        name,
        load,
        f"late fusion of {' and '.join(part.name for part in parts)}, from their answers",
        weights=Weights(find, command),
        settings={} if said is None else {"fitted_on": dict(said.fitted_on)},
        is_fusion=True,
        components=tuple(parts),
    )


def _labels_in(path: Path, sidecar: Path) -> tuple[str, ...]:
    """The label order a checkpoint declares, read without loading its tensors."""
    try:
        own = weights.metadata(path).get("labels")
        labels = tuple(parse_json(own) if own is not None else parse_json(read_text(sidecar))["labels"])
        LabelSpace.from_names("labels", labels)
        return labels
    except (FerModelsError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return LABELS  # it says nothing sound: `cnn.load` will tell the user, in words
