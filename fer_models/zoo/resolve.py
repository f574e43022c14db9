"""Models by name: those of the zoo, those of the user, and those made of them.

A name is enough: `vgg19`, `vgg19@my.safetensors`, `timm:resnet18@my.safetensors`, `vgg19+tta`,
`vgg19+resnet50`, `clip-nano-probe`, `open_clip:ViT-B-32/laion2b_s34b_b79k`, `hf-hub:someone/model`,
`endpoint:model@http://localhost:8000/v1`, `onnx:my.onnx`. `model_name` has the grammar.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from fer_models.classifiers.prompts import PromptSet
from fer_models.classifiers.vlm.questions import Question
from fer_models.errors import FerModelsError, UsageError, one_line
from fer_models.zoo.derived_models import check_variants, make_fusion, make_probe, make_variant
from fer_models.zoo.model_name import ModelName, Source
from fer_models.zoo.models import MODELS
from fer_models.zoo.registry import Registry, from_entry_points, from_file
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.sources import Lookup, spec_from_source
from fer_models.zoo.spec import LONGEST_NAME, ModelSpec, RestorerSpec, derive

#: All models, all restorers, notes on replaced records, and the selected models.
Chosen: TypeAlias = tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str], Registry[ModelSpec]]


def available_models(
    model_files: list[Path],
) -> tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str]]:
    """All models and restorers: of the zoo, of installed packages, and of the user's files.

    Returns:
        models, restorers, and one line per record of the zoo that a user's file replaces.
    """
    return _with_files(_read_files(model_files))


def _read_files(paths: Sequence[Path]) -> dict[Path, tuple[list[ModelSpec], list[RestorerSpec]]]:
    """The records of each file, by its real path, so that each file runs once.

    Raises:
        UsageError: as `from_file`, or two files define records of one name.
    """
    files: dict[Path, tuple[list[ModelSpec], list[RestorerSpec]]] = {}
    origin: dict[tuple[str, str], Path] = {}
    for path in paths:
        if (real := _real_path(path)) in files:
            continue
        models, restorers = files[real] = from_file(path)
        names = [("model", spec.name) for spec in models]
        names += [("restorer", spec.name) for spec in restorers]
        for kind, name in names:
            if (first := origin.setdefault((kind, name), path)) != path:
                raise UsageError(
                    f"{first} and {path} both define a {kind} named {name!r}. Give one of them another name."
                )
    return files


def _is_python_file(text: str) -> bool:
    return ModelName.parse(text).source is Source.PYTHON_FILE


def _real_path(path: str | Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # invalid characters in a path
        return Path(path)


def _with_files(
    files: Mapping[Path, tuple[list[ModelSpec], list[RestorerSpec]]],
) -> tuple[Registry[ModelSpec], Registry[RestorerSpec], list[str]]:
    models, restorers = MODELS.copy(), RESTORERS.copy()
    added_models, added_restorers = from_entry_points()
    models.add(*added_models)
    restorers.add(*added_restorers)
    notes = []
    for path, (file_models, file_restorers) in files.items():
        for name in models.override(*file_models) + restorers.override(*file_restorers):
            notes.append(f"{name} comes from {path.name}, in place of the one already known")
    return models, restorers, notes


def selected_models(model_names: Sequence[str], model_files: Sequence[Path]) -> Chosen:
    """Models and restorers as `available_models` returns them, and the models that `model_names` selects.

    No name selects all models. A name that ends in `.py` selects every model of that file.

    Two checkpoint files of one name are two models with two names: `timm:resnet18@a/x.safetensors` and
    `timm:resnet18@b/x.safetensors` become `timm:resnet18@a/x` and `timm:resnet18@b/x`, with as many parent
    folders as tell them apart, whatever their order; either alone is `timm:resnet18@x`, as in its baseline.
    So only a selection that holds both depends on the names of folders, and never on more of the path than
    differs. One file that is given twice, by whatever path, is one model.

    Raises:
        UnknownNameError, UsageError: as `available_models` and `resolve_model`.
    """
    paths = [*model_files, *(Path(name) for name in model_names if _is_python_file(name))]
    files = _read_files(paths)
    models, restorers, notes = _with_files(files)
    if not model_names:
        return models, restorers, notes, models
    selected: list[str] = []
    for name in model_names:
        selected += [spec.name for spec in files[_real_path(name)][0]] if _is_python_file(name) else [name]
    return models, restorers, notes, Registry("model", *_resolve_all(dict.fromkeys(selected), models))


def _resolve_all(texts: Iterable[str], models: Registry[ModelSpec]) -> list[ModelSpec]:
    """The models named `texts`, each once, their names lengthened where two checkpoints would share one."""
    files = {text: _checkpoint_path(text, models) for text in texts}
    folders = dict.fromkeys(files, 0)
    specs = {text: resolve_model(text, models) for text in files}
    while shared := _texts_of_shared_names(specs, files):
        for text in shared:
            if folders[text] > len(Path(files[text] or "").parts):
                names = " and ".join(sorted(f"'{one_line(one, 120)}'" for one in shared))
                raise UsageError(f"{names} differ only in the suffix of a file. Rename one of the files.")
            folders[text] += 1
            specs[text] = resolve_model(text, models, folders[text])
    return list({spec.name: spec for spec in specs.values()}.values())


def _texts_of_shared_names(specs: Mapping[str, ModelSpec], files: Mapping[str, str | None]) -> list[str]:
    """The names typed for different checkpoints whose models have one name, apart from variants."""
    by_name: dict[ModelName, list[str]] = {}
    for text, spec in specs.items():
        by_name.setdefault(replace(ModelName.parse(spec.name), variants=()), []).append(text)
    shared = [group for group in by_name.values() if len({files[text] for text in group}) > 1]
    return [text for group in shared for text in group if files[text] is not None]


def _checkpoint_path(text: str, models: Registry[ModelSpec]) -> str | None:
    """The real path of the file or folder in a model's name; None for a model without one."""
    name = ModelName.parse(text)
    is_file = text not in models and name.checkpoint is not None and name.source is not Source.ENDPOINT
    return str(_real_path(name.checkpoint)) if is_file and name.checkpoint else None


def with_recorded(models: Registry[ModelSpec], recorded: Iterable[str]) -> Registry[ModelSpec]:
    """Add to `models` each of the `recorded` names that can be made of them; omit the others.

    A name in a baselines file opens no other file, and sends faces to no server.
    """
    specs = []
    for name in recorded:
        if name not in models and ModelName.parse(name).is_made_of(models.names):
            with suppress(FerModelsError):
                specs.append(resolve_model(name, models))
    return Registry(models.kind, *models, *specs)


def resolve_model(text: str, models: Registry[ModelSpec], folders: int = 0) -> ModelSpec:
    """Make the record of the model named `text`.

    | name | model |
    |---|---|
    | `NAME` | a registered one |
    | `NAME@FILE`, `timm:NETWORK@FILE` | a network with a checkpoint of one's own |
    | `open_clip:ARCHITECTURE/TAG`, `open_clip:ARCHITECTURE@FILE`, `hf-hub:ORGANISATION/NAME` | open_clip |
    | `hf-vlm:ORGANISATION/NAME`, `hf-vlm:NAME@FOLDER` | a vision-language model of transformers |
    | `hf:ORGANISATION/NAME`, `hf:NAME@FOLDER` | an image classifier of transformers |
    | `hf:ORGANISATION/NAME@FILE.json` | the same, with its classes declared in a file |
    | `endpoint:MODEL@URL` | a model behind an OpenAI-compatible server |
    | `onnx:FILE`, `tflite:FILE` | a network in a file that describes its input and output |
    | `NAME+tta` | test-time augmentation: the mean of a face and its mirror image |
    | `NAME+calibrated` | temperature scaling, as `fer-models calibrate` fitted it |
    | `NAME+likelihood` (`-normalized`, `-calibrated`) | the likelihood of the seven replies |
    | `NAME+4crops` | Phi-3.5-vision with several crops per image |
    | `NAME-probe` | the linear probe that `fer-models probe` fitted |
    | `NAME+NAME` | late fusion, with the exponents that `fer-models fuse` fitted |

    A checkpoint appears in its model's name by the name of its file, without folders and suffix, so that a
    baseline holds for the same file anywhere; see `selected_models` for files of one name.

    Args:
        text: the name, as the user typed it.
        models: the registered models.
        folders: how many parent folders of a checkpoint its model's name shows.

    Raises:
        UnknownNameError, UsageError: no such model, or no such file.
    """
    name = ModelName.parse(text)
    if text not in models and len(names := str(replace(name, checkpoint=None))) > LONGEST_NAME:
        raise UsageError(
            f"--model '{one_line(text, 60)}': its name has {len(names):,} characters, "
            f"{LONGEST_NAME} are allowed."
        )
    return _resolve(name, Lookup(text, models, folders))


def _resolve(name: ModelName, lookup: Lookup) -> ModelSpec:
    if (text := str(name)) in lookup.models:
        return lookup.models[text]
    if name.components:
        return make_fusion([_resolve(component, lookup) for component in name.components])
    if name.base is None:
        return spec_from_source(name, lookup)
    check_variants(name)
    base = _resolve(name.base, lookup)
    return make_variant(base, name.variants[-1]) if name.variants else make_probe(base)


def with_question(models: Registry[ModelSpec], question: Question) -> Registry[ModelSpec]:
    """Replace the question of every vision-language model."""
    specs = (spec if (f := spec.with_question) is None else derive(spec, f, question) for spec in models)
    return Registry(models.kind, *specs)


def with_prompts(models: Registry[ModelSpec], prompts: PromptSet) -> Registry[ModelSpec]:
    """Replace the prompt set of every zero-shot model."""
    specs = (spec if (f := spec.with_prompts) is None else derive(spec, f, prompts) for spec in models)
    return Registry(models.kind, *specs)
