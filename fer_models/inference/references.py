"""References of exported models: the models that they were exported from (`same_as`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_models.classifiers.base import Classifier
from fer_models.errors import FerModelsError, UnknownNameError, UsageError, one_line
from fer_models.inference.identity import Combination
from fer_models.inference.loop import PredictionRun
from fer_models.zoo import resolve
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec

if TYPE_CHECKING:
    from fer_models.inference.runner import Runner


class References:
    """The references of a run's models; they need not be among the models of the run."""

    def __init__(self, runner: Runner, available_models: Registry[ModelSpec]) -> None:
        """References are found among `available_models`, by name."""
        self._runner, self._available_models = runner, available_models

    def model(self, combination: Combination) -> ModelSpec:
        """The model that the model of a combination was exported from: a known one, or made of known ones.

        Raises:
            UsageError: no known model has this name, or it is the export itself.
        """
        export, available = self._runner.models[combination[0]], self._available_models
        name = str(export.same_as)
        problem = f"{export.name} is declared to be the same as '{one_line(name, 100)}'"
        hint = "Add this model with --model or --model-file, or correct same_as in the export's description."
        try:
            # The name comes from a file: it must not open other files, or send faces to a server.
            if not ModelName.parse(name).is_made_of(available.names):
                raise UnknownNameError("model", name, available.names)
            reference = resolve.resolve_model(name, available)
        except UsageError as error:
            raise UsageError(f"{problem}. {error} {hint}") from error
        if reference.name == export.name:
            raise UsageError(f"{problem}, which is its own name. {hint}")
        return reference

    def unavailable_reason(self, combination: Combination) -> str | None:
        """Why this machine cannot predict with the reference; None if it can. Raises as `model`."""
        return self._runner.unavailable_reason_of(self.model(combination), combination)

    def is_available(self, combination: Combination) -> bool:
        """Whether this machine can predict with the export and its reference, or has an error to report."""
        try:
            return self._runner.is_available(combination) and self.unavailable_reason(combination) is None
        except FerModelsError:
            return True

    def predict(self, combination: Combination) -> PredictionRun:
        """The predictions of the reference for the faces of a combination.

        Raises:
            UsageError: as `model`.
            PredictionError, RestorationError, StoreError: as `Runner.predict`.
        """
        runner, restorer = self._runner, self._runner.restorers[combination[1]]
        return runner.predict_model(self.model(combination), restorer, runner.dataset_of(combination))

    def classifier(self, combination: Combination) -> Classifier:
        """The loaded reference. Raises as `model` and `Runner.classifier`."""
        return self._runner.load_model(self.model(combination))
