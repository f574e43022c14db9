"""The quantized network of the package fer 25.10.3, run by LiteRT.

Arriaga, Valdenegro-Toro & Plöger 2017, arXiv:1710.07557.
"""

from __future__ import annotations

from pathlib import Path

from fer_models.classifiers import tflite
from fer_models.classifiers.network_classifier import NetworkClassifier
from fer_models.published_networks.packages import MINI_XCEPTION, MINI_XCEPTION_FORMAT, PublishedModel


def load(path: Path, model: PublishedModel = MINI_XCEPTION) -> NetworkClassifier:
    """The classifier in the package's file `emotion_model_quantized.tflite`.

    Raises:
        WeightsError: it is not the published file.
    """
    model.files[0].read(path, model.install_hint)
    return tflite.load(path, MINI_XCEPTION_FORMAT)
