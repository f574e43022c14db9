"""Files of an image classifier as transformers saves one: checks and class names, without transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_models.artifacts.model_folder import (
    CONFIG,
    INDEX,
    WEIGHTS,
    read_object,
    refuse_adapter,
    refuse_other_files,
    safetensors_files,
)
from fer_models.emotions import LabelSpace
from fer_models.errors import DatasetError, WeightsError, one_line

PREPROCESSOR = "preprocessor_config.json"
#: Read by transformers before `PREPROCESSOR`, where a repository has it.
PROCESSOR = "processor_config.json"
#: The files of a repository that decide predictions.
PATTERNS = (CONFIG, PREPROCESSOR, PROCESSOR, "*.safetensors", INDEX)
#: The file in a model's folder that declares its classes, in place of `id2label` in `config.json`.
DECLARATION = "fer-models.json"
_EXAMPLE = '{"labels": ["angry", "disgust", …]}'
_DECLARE = (
    f"Declare the names in the order of the model's outputs: write {_EXAMPLE} to {DECLARATION} in the "
    "model's folder, or, for a model on the Hub, to a FILE.json: --model hf:ORGANISATION/NAME@FILE.json"
)
#: Class names that only repeat an index: transformers writes `LABEL_0` where a model declares no names.
_NUMBER = re.compile(r"(?:label[_ -]?)?\d+", re.IGNORECASE)
#: The end of the names of image processors before transformers 4.26; transformers 5 has no such classes.
_OLD = "FeatureExtractor"
#: What `problem_type` is where one class excludes the others (None: transformers infers it in training).
_SINGLE_LABEL = (None, "single_label_classification")


def read_labels(folder: Path, declaration: Path | None = None) -> tuple[str, ...]:
    """Read the names of a model's classes, in the order of its outputs.

    Args:
        folder: where the files are.
        declaration: a JSON file with the key `labels`; None for `fer-models.json` in `folder`. Without such a
            file, the names are those of `id2label` in `config.json`.

    Raises:
        WeightsError: a file cannot be read, or its names are not names of emotions.
    """
    path = declaration or folder / DECLARATION
    if declaration is not None or path.exists():
        names, source, hint = _declared_names(path), path, "Correct that file."
    else:
        source, hint = folder / CONFIG, _DECLARE
        names = _configured_names(read_config(folder), source)
    if all(map(_NUMBER.fullmatch, names)):
        raise WeightsError(f"{source} gives no names of classes, only numbers ({_listing(names)}). {hint}")
    try:
        space = LabelSpace.from_names(f"labels of {source}", names)
    except DatasetError as error:
        raise WeightsError(f"{source} names the classes {_listing(names)}. {error} {hint}") from error
    if all(emotion is None for emotion in space.order):
        raise WeightsError(f"{source} names no class that is one of the seven emotions. {hint}")
    return names


def read_config(folder: Path) -> Mapping[str, Any]:
    """Read `config.json`, and check that it is of an image classifier.

    Raises:
        WeightsError: it cannot be read, or it is of a model that cannot be used.
    """
    config = read_object(folder / CONFIG)
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise WeightsError(f"{folder / CONFIG}: `architectures` is no list of names. Get a sound copy.")
    if architectures and not any("ForImageClassification" in name for name in architectures):
        raise WeightsError(
            f"{folder} holds a {one_line(architectures[0], 80)}, which is no image classifier of "
            "transformers (…ForImageClassification). Use hf-vlm: for a vision-language model, "
            "hf-hub: for a CLIP model."
        )
    problem = config.get("problem_type")
    if problem not in _SINGLE_LABEL:
        raise WeightsError(
            f"{folder / CONFIG} gives the problem type '{one_line(str(problem), 80)}': the outputs of this "
            "model are no probabilities of exclusive classes. Use a model of single_label_classification."
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a model, and check that all files that it needs are there.

    Raises:
        WeightsError: a file is missing, or the model needs code or weights that are not in these files.
    """
    config = read_object(folder / CONFIG)
    is_timm = "pretrained_cfg" in config  # a model that timm saved has its preprocessing in config.json
    settings = [path for name in (PROCESSOR, PREPROCESSOR) if (path := folder / name).exists()]
    if not settings and not is_timm:
        raise WeightsError(
            f"{folder} has no {PREPROCESSOR}, which says how faces are preprocessed. Save it there: "
            "AutoImageProcessor.from_pretrained(BASE_MODEL).save_pretrained(FOLDER)."
        )
    for path in (folder / CONFIG, *settings):
        if "auto_map" in read_object(path):
            raise WeightsError(
                f"{path} names code that comes with the model (auto_map). Such code is never run. "
                "Use a model of a class of transformers, or write a model file (--model-file)."
            )
    if "transformers_weights" in config:
        raise WeightsError(
            f"{folder / CONFIG} names another file of weights (transformers_weights). Only {WEIGHTS} and the "
            f"files of {INDEX} are read: rename the file, and remove this setting."
        )
    refuse_adapter(folder)
    refuse_other_files(folder)
    if files := safetensors_files(folder):
        return files
    raise WeightsError(
        f"{folder} holds no {WEIGHTS}. Only safetensors are read, because reading other files can run code. "
        "If you trust it, convert it: "
        "AutoModelForImageClassification.from_pretrained(FOLDER).save_pretrained(FOLDER)."
    )


def renamed_processor(folder: Path) -> str | None:
    """The present name of an image processor whose file has its old name; None for any other.

    `ViTFeatureExtractor` became `ViTImageProcessor`.
    """
    path = folder / PREPROCESSOR
    name = read_object(path).get("image_processor_type") if path.exists() else None
    is_old = isinstance(name, str) and name.endswith(_OLD)
    return f"{str(name).removesuffix(_OLD)}ImageProcessor" if is_old else None


def _declared_names(path: Path) -> tuple[str, ...]:
    content = read_object(path)
    names: Any = content.get("labels")
    is_list = isinstance(names, list) and bool(names) and set(content) == {"labels"}
    if not is_list or not all(isinstance(name, str) for name in names):
        raise WeightsError(
            f"{path} does not declare the classes of a model. Write one name per class, in the order of the "
            f"model's outputs: {_EXAMPLE}."
        )
    return tuple(names)


def _configured_names(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The names of `id2label` by index, or those of `label_names`, where timm writes them."""
    id2label = config.get("id2label")
    if id2label is None and isinstance(timm_names := config.get("label_names"), list):
        id2label = {str(i): name for i, name in enumerate(timm_names)}
    if id2label is None:
        raise WeightsError(f"{path} names no classes (id2label). {_DECLARE}")
    indices = [str(i) for i in range(len(id2label))] if isinstance(id2label, dict) else []
    if not indices or set(id2label) != set(indices):
        raise WeightsError(f"{path}: id2label does not name one class for each of 0, 1, 2, …. {_DECLARE}")
    names = [id2label[index] for index in indices]
    if not all(isinstance(name, str | int) for name in names):
        raise WeightsError(f"{path}: id2label holds something that is no name. {_DECLARE}")
    if (n := config.get("num_labels", len(names))) != len(names):
        raise WeightsError(
            f"{path} names {len(names)} classes in id2label, but num_labels is {one_line(repr(n), 40)}. "
            f"{_DECLARE}"
        )
    return tuple(map(str, names))


def _listing(names: tuple[str, ...]) -> str:
    return one_line(", ".join(names), 120)
