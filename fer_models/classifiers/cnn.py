"""CNN classifiers from timm.

One safetensors file holds a network and everything needed to use it: the tensors, and in its metadata an
`Architecture` (network and preprocessing), the label order, and the record of its training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import timm
import torch
from timm.layers import ClassifierHead  # type: ignore[attr-defined]
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.classifiers import (
    flops,
    timm_models,  # noqa: F401 (registers its networks with timm)
)
from fer_models.classifiers.architecture import Architecture
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.folding import fold_batch_norms
from fer_models.classifiers.network_format import NetworkFormat
from fer_models.classifiers.torch_network import autocast, compile_network, parameter_count
from fer_models.emotions import EMOTIONS, LabelSpace
from fer_models.errors import FerModelsError, UnknownNameError, UsageError, WeightsError, one_line
from fer_models.images import Face

#: The format of this package's files, in their metadata.
FORMAT = "fer-models-cnn"
#: What a sidecar may declare of the input in addition to the fields of `Architecture`.
_DECLARED_INPUT = ("range", "color_order", "resample")


def build(architecture: Architecture, classes: int = len(EMOTIONS), **options: Any) -> nn.Module:
    """Build the network, randomly initialised, with `classes` logits.

    `options` (drop_rate, …) are passed to `timm.create_model`.

    Raises:
        UnknownNameError: timm has no network of that name.
    """
    if not timm.is_model(architecture.timm):
        raise UnknownNameError("timm network", architecture.timm, timm.list_models())
    model: Any = timm.create_model(
        architecture.timm, in_chans=architecture.channels, num_classes=classes, **options
    )
    if architecture.linear_head:
        width = model.feature_info[-1]["num_chs"]
        model.pre_logits = nn.Identity()
        model.num_features = model.head_hidden_size = width
        model.head = ClassifierHead(width, classes, pool_type="avg", drop_rate=options.get("drop_rate", 0.0))
    if architecture.stem_stride is not None:
        stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        stem.stride = (architecture.stem_stride, architecture.stem_stride)
    network: nn.Module = model
    return network


def normalise(faces: torch.Tensor, architecture: Architecture) -> torch.Tensor:
    """Normalise float faces (n, channels, h, w) in 0..255 with the architecture's mean and std."""
    mean, std = (
        torch.tensor(v, dtype=faces.dtype, device=faces.device).reshape(1, -1, 1, 1)
        for v in (architecture.mean, architecture.std)
    )
    return (faces / 255.0 - mean) / std


class CNN:
    """Classifier around a trained network: resize, normalise, one forward pass, softmax in float32.

    Attributes:
        network: for inference only: its batch normalisations are part of its convolutions.
        parameters: number of parameters, batch normalisations included.
    """

    is_prefetchable = True

    def __init__(
        self,
        network: nn.Module,
        architecture: Architecture,
        network_format: NetworkFormat,
        device: torch.device,
        precision: str = "float32",
        *,
        compiled: bool = False,
    ) -> None:
        """Copy `network` for inference; `compiled` compiles the copy at the first batch."""
        self.parameters = parameter_count(network)
        folded = fold_batch_norms(network.eval())
        self.network = folded.to(device).to(memory_format=torch.channels_last)
        self._forward = compile_network(self.network) if compiled else self.network
        self.architecture, self.network_format = architecture, network_format
        self.device, self.precision = device, precision

    def with_format(self, network_format: NetworkFormat, /) -> CNN:
        """See `Reformattable.with_format`."""
        classifier = copy.copy(self)
        classifier.network_format = network_format
        return classifier

    def preprocess(self, faces: Sequence[Face]) -> torch.Tensor:
        """Preprocess faces: float32 (n, channels, size, size) on the device."""
        batch = torch.from_numpy(self.network_format.preprocess(faces)).to(self.device)
        return batch.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor) -> Predictions:
        """Predict from a preprocessed batch."""
        with autocast(self.device, self.precision):
            logits = self._forward(batch)
        return Predictions.from_probabilities(
            logits.float().softmax(dim=1).cpu().numpy(), self.network_format.labels
        )

    def predict(self, faces: Sequence[Face]) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face; see `flops.macs`."""
        side = self.architecture.size
        return flops.macs(
            lambda: self.network(torch.zeros(1, self.architecture.channels, side, side, device=self.device))
        )


def load(
    path: Path,
    *,
    device: str = "auto",
    precision: str = "float32",
    timm_name: str | None = None,
    compiled: bool = False,
) -> CNN:
    """The classifier in a safetensors file.

    Args:
        path: a file of `fer-models train`, or a third-party one with `FILE.json` next to it, which gives its
            labels and preprocessing.
        device: `auto` (CUDA, then Apple's MPS, then CPU), or a torch device name.
        precision: `float32`, `bf16` or `fp16`.
        timm_name: the timm network to build, for a third-party file.
        compiled: compile the network; see `torch_network.compile_network`.

    Raises:
        WeightsError: the file is unsound or incomplete, or does not fit the network.
    """
    state, metadata = safetensors_io.read(path)
    declared: Mapping[str, Any] = {}
    if metadata.get("format") == FORMAT:
        try:
            architecture = Architecture(**parse_json(metadata["architecture"]))
            labels = list(parse_json(metadata["labels"]))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {one_line(str(error))}"
            raise WeightsError(
                f"{path} does not say what its network is ({reason}). Get a sound copy."
            ) from error
    else:
        architecture, labels, declared = _read_sidecar(path, timm_name)
    try:
        LabelSpace.from_names(f"labels of {path}", labels)
    except (FerModelsError, AttributeError) as error:
        raise WeightsError(f"{path} declares classes that are no emotions: {one_line(str(error))}") from error
    try:
        network_format = input_format(architecture, labels, declared)
    except UsageError as error:
        raise WeightsError(f"The input declared for {path} is wrong: {error}") from error
    try:
        network = build(architecture, len(labels))
    except FerModelsError:
        raise
    except Exception as error:  # timm raises exceptions of many types for an impossible size or name
        raise WeightsError(
            f"{path} names a network that cannot be built: {architecture.timm}, {one_line(str(error))}"
        ) from error
    safetensors_io.check_state_dict(network, state, architecture.timm, path)
    network.load_state_dict(state)
    device_in_use = safetensors_io.pick_device(device)
    return CNN(network, architecture, network_format, device_in_use, precision, compiled=compiled)


def input_format(
    architecture: Architecture, labels: Sequence[str], declared: Mapping[str, Any] = MappingProxyType({})
) -> NetworkFormat:
    """The format of a network's input and output.

    Args:
        architecture: the network and its preprocessing.
        labels: the name of each output column.
        declared: fields of the format that an `Architecture` does not have, or other values.

    Raises:
        UsageError: a value is wrong.
    """
    return NetworkFormat.from_json(
        {
            "labels": labels,
            "size": architecture.size,
            "channels": architecture.channels,
            "mean": architecture.mean,
            "std": architecture.std,
            "layout": "nchw",
            "range": (0, 1),
            "output": "logits",
            **declared,
        }
    )


def _read_sidecar(path: Path, timm_name: str | None) -> tuple[Architecture, list[str], dict[str, Any]]:
    """Architecture, labels and `_DECLARED_INPUT` of a third-party checkpoint, from `FILE.json`.

    Size and normalisation default to timm's for the network.
    """
    sidecar = path.with_suffix(".json")
    example = '{"labels": ["angry", "disgust", …], "size": 224, "channels": 3}'
    if timm_name is None:
        raise WeightsError(
            f"{path} was not written by `fer-models train`. Name its network: --model timm:NETWORK@{path}"
        )
    try:
        metadata = parse_json(read_text(sidecar))
        labels = list(metadata.pop("labels"))
        config: Any = timm.get_pretrained_cfg(timm_name)
        defaults: dict[str, Any] = {"channels": 3}
        if config is not None:
            defaults |= {"size": config.input_size[-1], "mean": config.mean, "std": config.std}
        declared = {key: metadata.pop(key) for key in _DECLARED_INPUT if key in metadata}
        return Architecture(timm_name, **(defaults | metadata)), labels, declared
    except FileNotFoundError:
        raise WeightsError(
            f"{path} does not say what its classes are. Write {sidecar}, such as {example}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{sidecar} cannot be used ({type(error).__name__}: {one_line(str(error))}). Example: {example}."
        ) from error
