"""Image classifiers of transformers (ViT, Swin, BEiT, SigLIP, ConvNeXt, ResNet, …).

Each is used with its own image processor. Weights are read from safetensors only, and no code that comes with
a model is run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
from transformers.utils import logging as transformers_logging

from fer_models.artifacts import hub, safetensors_io
from fer_models.classifiers import flops
from fer_models.classifiers.base import Predictions
from fer_models.classifiers.hf_image_files import read_config, read_labels, renamed_processor, weight_files
from fer_models.classifiers.torch_network import autocast, parameter_count
from fer_models.errors import WeightsError, reason_of
from fer_models.images import Face, grey

#: A face of FER-2013's size, for trying a model and for counting its operations.
_BLACK: Face = np.zeros((48, 48, 3), dtype=np.uint8)


class HfImageClassifier:
    """A model of transformers with its image processor: one forward pass, softmax in float32."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        labels: Sequence[str],
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        """`model` and `processor` are what transformers' Auto classes make of a folder."""
        self.model, self.processor, self.labels = model.eval().to(device), processor, tuple(labels)
        self.device, self.precision = device, precision
        vision_config = getattr(model.config, "vision_config", model.config)  # CLIP's and SigLIP's
        self._is_grey = getattr(vision_config, "num_channels", 3) == 1

    def preprocess(self, faces: Sequence[Face], /) -> Any:
        """Preprocess faces with the model's processor: its inputs by name, on the device.

        A face is an RGB image, and a grey one for a network with one channel.
        """
        images = [Image.fromarray(grey(face) if self._is_grey else face) for face in faces]
        return self.processor(images=images, return_tensors="pt").to(self.device)

    @torch.inference_mode()
    def logits(self, batch: Any) -> torch.Tensor:
        """The outputs of the network for a preprocessed batch: float32 (n, classes)."""
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self.model(**batch).logits
        return logits.float()

    def infer(self, batch: Any, /) -> Predictions:
        """Predict from a preprocessed batch."""
        return Predictions.from_probabilities(self.logits(batch).softmax(dim=1).cpu().numpy(), self.labels)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return parameter_count(self.model)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face; see `flops.macs`."""
        batch = self.preprocess([_BLACK])
        return flops.macs(lambda: self.model(**batch))


def load(
    folder: Path, *, declaration: Path | None = None, device: str = "auto", precision: str = "float32"
) -> HfImageClassifier:
    """The classifier in a folder as transformers saves one.

    Args:
        folder: where the files are.
        declaration: as in `hf_image_files.read_labels`.
        device: as in `cnn.load`.
        precision: as in `cnn.load`.

    Raises:
        WeightsError: it is no image classifier whose classes are emotions, its files are unsound or
            incomplete, or it needs third-party code.
        NotEnoughMemoryError: the weights need more memory than is free.
    """
    config = read_config(folder)
    files, labels = weight_files(folder), read_labels(folder, declaration)
    target, elements = safetensors_io.pick_device(device), safetensors_io.count_elements(files)
    # The weights stay in float32; a lower precision is that of the arithmetic.
    safetensors_io.require_memory(elements, torch.float32, target, folder.name)
    # Without names of classes in config.json, transformers would build two outputs.
    settings = {} if {"id2label", "pretrained_cfg"} & config.keys() else {"num_labels": len(labels)}
    classifier = HfImageClassifier(*_read(folder, elements, settings), labels, target, precision)
    try:
        logits = classifier.logits(classifier.preprocess([_BLACK]))
    except Exception as error:  # processors and networks raise exceptions of many types for unfit settings
        raise WeightsError(
            f"The image processor of {folder} does not fit its network: {reason_of(error)}. "
            "Compare the size and the channels in preprocessor_config.json with config.json."
        ) from error
    if logits.shape != (1, len(labels)):
        raise WeightsError(
            f"{folder} names {len(labels)} classes ({', '.join(labels)}), but its network has "
            f"{logits.shape[-1]} outputs. Declare one name per output."
        )
    if not logits.isfinite().all():
        raise WeightsError(f"{folder} computes outputs that are no numbers. Get a new copy.")
    return classifier


def _read(folder: Path, elements: int, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The model and the image processor in a folder.

    Args:
        folder: where the files are.
        elements: how many numbers its weights hold.
        settings: what its `config.json` lacks.

    Raises:
        WeightsError: transformers cannot load them, or tensors are missing or of another shape.
    """
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    name = renamed_processor(folder)
    processor_class: Any = AutoImageProcessor if name is None else getattr(transformers, name, None)
    if processor_class is None:
        raise WeightsError(f"{folder} names an image processor that transformers does not have: {name}.")
    try:
        with _quiet(), hub.offline():
            config = AutoConfig.from_pretrained(folder, **local, **settings)
            _require_parameters(config, elements, folder)
            processor = processor_class.from_pretrained(folder, **local)
            model, info = AutoModelForImageClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                **local,
            )
    except WeightsError:
        raise
    except Exception as error:  # transformers raises exceptions of many types for invalid files
        raise WeightsError(
            f"{folder} is no image classifier that transformers loads by itself: {reason_of(error)}."
        ) from error
    if mismatched := info.get("mismatched_keys"):
        key, shape, expected = min(mismatched, key=str)
        raise WeightsError(
            f"{folder}: {len(mismatched)} tensors have another shape than config.json gives them: {key} has "
            f"{tuple(shape)}, not {tuple(expected)}. Get a config.json and weights that belong together."
        )
    if missing := sorted(map(str, info["missing_keys"])):
        raise WeightsError(
            f"{folder} lacks {len(missing)} tensors ({', '.join(missing[:3])}, …); they would be random. "
            "Get a model that was trained to classify images."
        )
    return model, processor


def _require_parameters(config: Any, elements: int, folder: Path) -> None:
    """Check that the weights can fill the network, before it takes memory.

    Raises:
        WeightsError: the network of `config` has more parameters than the files have numbers.
    """
    build: Any = AutoModelForImageClassification.from_config
    with torch.device("meta"):
        network = build(config, trust_remote_code=False)
    parameters = parameter_count(network)
    if parameters > elements:
        raise WeightsError(
            f"{folder}: the network of config.json has {parameters:,} parameters, its weights hold "
            f"{elements:,} numbers. Get a config.json and weights that belong together."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers: its table of tensors that do not fit becomes an error of one sentence."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
