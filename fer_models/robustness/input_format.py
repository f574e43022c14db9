"""Plausibility of a model's input: predictions of the same network for faces in other common formats.

A classifier that preprocesses by a declared format (`Reformattable`) is tried with alternatives that each
change one declaration: order of the colour channels, range, mean and std. Layout and number of channels are
fixed by the shape of the network, and resizing has too small an effect.

Of any other classifier only the pixels of its faces can be changed: channels exchanged, and the negative.
Another range cannot be tried: 8-bit faces hold no values above 255 and none below 0, and faces divided by 255
would be black.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from fer_models.classifiers.base import Reformattable
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.errors import PredictionError, UsageError, one_line
from fer_models.images import Face
from fer_models.inference.runner import Combination, Runner
from fer_models.scoring.plausibility import ALPHA, Alternative, IntArray, best_alternative, chance_p_value
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.spec import ModelSpec

#: At most so many faces are predicted with each alternative.
FACES = 70
#: The largest number of alternatives, for the expected time of a run.
MOST_ALTERNATIVES = 9

_Values: TypeAlias = tuple[float, ...]
_RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
_NO_MEAN, _NO_STD = (0.0,), (1.0,)
#: Mean and std in RGB order: none, 0.5 (Inception, ViT), ImageNet, CLIP; the last two from
#: `timm.data.constants`.
_NORMALISATIONS: tuple[tuple[_Values, _Values], ...] = (
    (_NO_MEAN, _NO_STD),
    ((0.5,), (0.5,)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
)
_EXCHANGED, _NEGATIVE = "the red and blue channels exchanged", "each face as a negative (255 - face)"
_CHANGES: dict[str, Callable[[Face], Face]] = {
    _EXCHANGED: lambda face: np.ascontiguousarray(face[..., ::-1]),
    _NEGATIVE: lambda face: 255 - face,
}


@dataclass(frozen=True)
class InputPlausibility:
    """Result of the check of one model.

    Attributes:
        model: its name.
        best: the best alternative to its preprocessing.
        file: where the preprocessing is declared or written, for messages.
        p_chance: p-value of its predictions under chance.
    """

    model: str
    best: Alternative
    file: str
    p_chance: float

    @property
    def failure(self) -> str | None:
        """The probable mistake, its measured gain, and what to change where; None if there is none."""
        best = self.best
        if not best.is_far_better:
            return None
        return (
            f"{best.n_correct} of {best.n} predictions of {self.model} are correct, "
            f"but {best.n_correct + best.gain} are with {best.name} "
            f"(p = {best.p:.1g}, adjusted for {best.tried} alternatives). "
            f"So its faces are probably preprocessed in a wrong way. Make this change in {self.file}."
        )

    @property
    def remark(self) -> str | None:
        """A sentence about a model at chance level without a better alternative; None for any other model."""
        if self.best.is_far_better or self.p_chance < ALPHA:
            return None
        return (
            f"{self.best.n_correct} of {self.best.n} predictions of {self.model} are correct, which is not "
            f"significantly above chance; no input format is far better ({self.best.tried} were tried)."
        )


def check_input(runner: Runner, combination: Combination) -> InputPlausibility:
    """Predict at most `FACES` faces as declared and with every alternative. Raises as `Runner.predict`."""
    data, model = runner.data.subsample(FACES), runner.models[combination.model]
    faces, truth = data.faces.faces(range(len(data.faces))), data.faces.labels
    with runner.predictor(combination) as predict:
        declared = predict(faces).answer
    answers = _alternative_answers(runner, combination, faces)
    best = best_alternative(truth, declared, answers)
    return InputPlausibility(model.name, best, _file(model), chance_p_value(best.n_correct, truth))


def alternatives(declared: NetworkFormat, has_color: bool) -> list[NetworkFormat]:
    """Formats that change one declaration, and with it the values that the network gets.

    Among them is 0..255 without normalisation, though two declarations make it: range, and mean and std.

    Args:
        declared: the format as declared.
        has_color: some faces have colours; without, the order of the channels has no effect.
    """
    formats = [replace(declared, range=values) for values in _RANGES]
    for mean, std in _NORMALISATIONS:
        formats.append(replace(declared, mean=_in_order(mean, declared), std=_in_order(std, declared)))
    formats.append(replace(declared, range=(0.0, 255.0), mean=_NO_MEAN, std=_NO_STD))
    if has_color and declared.channels > 1:
        formats.append(replace(declared, color_order="bgr" if declared.color_order == "rgb" else "rgb"))
    distinct = {_black_and_white(declared): declared}
    for network_format in formats:
        distinct.setdefault(_black_and_white(network_format), network_format)
    return list(distinct.values())[1:]


def _in_order(rgb: _Values, declared: NetworkFormat) -> _Values:
    """Values of the three channels for the channels of a format: their mean for a grey one."""
    if len(rgb) == 1:
        return rgb
    if declared.channels == 1:
        return (round(sum(rgb) / len(rgb), 4),)
    return rgb if declared.color_order == "rgb" else rgb[::-1]


def _black_and_white(network_format: NetworkFormat) -> tuple[Any, ...]:
    """All that decides the input: the order of the channels, and the values of a black and a white pixel."""
    mean, std = np.asarray(network_format.mean), np.asarray(network_format.std)
    ends = [(value - mean) / std * np.ones(network_format.channels) for value in network_format.range]
    return network_format.color_order, *np.concatenate(ends).round(6).tolist()


def _alternative_answers(
    runner: Runner, combination: Combination, faces: Sequence[Face]
) -> dict[str, IntArray]:
    """The predicted emotions with each alternative, by its name."""
    has_color = any((face != face[..., :1]).any() for face in faces)
    classifier = runner.classifier(combination.model)
    if isinstance(classifier, Reformattable):
        declared = classifier.network_format
        return {
            _difference(declared, other): _answers(runner, combination, faces, other)
            for other in alternatives(declared, has_color)
        }
    names = [_EXCHANGED, _NEGATIVE] if has_color else [_NEGATIVE]
    return {name: _answers(runner, combination, [_CHANGES[name](face) for face in faces]) for name in names}


def _answers(
    runner: Runner,
    combination: Combination,
    faces: Sequence[Face],
    network_format: NetworkFormat | None = None,
) -> IntArray:
    """The predicted emotions of one alternative; -1 if the network cannot take it, or computes no numbers."""
    try:
        with runner.predictor(combination, network_format=network_format) as predict:
            return predict(faces).answer
    except (PredictionError, UsageError):  # as declared, the same faces were predicted without an error
        return np.full(len(faces), -1, dtype=np.int64)


def _difference(declared: NetworkFormat, other: NetworkFormat) -> str:
    """The fields that differ, such as `"range": [0, 255] instead of [0, 1]`."""
    before, after = declared.as_json(), other.as_json()
    changed = [key for key in after if after[key] != before[key]]
    return ", ".join(f'"{key}": {_as_text(after[key])} instead of {_as_text(before[key])}' for key in changed)


def _as_text(value: Any) -> str:
    """A value as JSON, numbers as short as possible."""
    return (
        f"[{', '.join(f'{number:g}' for number in value)}]" if isinstance(value, list) else json.dumps(value)
    )


def _file(model: ModelSpec) -> str:
    """The file that declares the preprocessing: `FILE.json` next to the weights, or the model's own code."""
    path, weights = model.source, model.weights_path()
    if path is None and weights is not None:
        sidecar = weights.with_suffix(".json")
        has_description = sidecar.is_file() or ModelName.parse(model.name).source.is_network_file
        path = sidecar if has_description else None
    return "its preprocessing" if path is None else one_line(path.name, 120)
