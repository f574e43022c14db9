"""fer-models: evaluate facial emotion recognition models, and fail when one got worse.

This module exports the public names. It imports neither torch nor any model library.
"""

from fer_models.classifiers.base import Classifier, Predictions
from fer_models.emotions import EMOTIONS, LABELS, Emotion, LabelSpace
from fer_models.errors import FerModelsError
from fer_models.images import Face
from fer_models.restorers.base import Restorer
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime, Weights

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "LABELS",
    "Classifier",
    "Emotion",
    "Face",
    "FerModelsError",
    "LabelSpace",
    "ModelSpec",
    "Predictions",
    "Restorer",
    "RestorerSpec",
    "Runtime",
    "Weights",
]
