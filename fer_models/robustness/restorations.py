"""Effects of restorations on the predictions of one run: for each model, and over all models."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError
from fer_models.gate import restoration_effect
from fer_models.gate.restoration_effect import RestorationEffect
from fer_models.images import data_url, distinct_shapes, resize
from fer_models.inference.runner import Combination, Runner
from fer_models.restorers.base import restore_validated
from fer_models.store.predictions import PredictionTable
from fer_models.zoo.model_name import ModelName

#: Faces on which the time and the fidelity of a restoration are measured, and the side of the images on the
#: page, in pixels.
_MEASURED_FACES, _IMAGE_SIDE = 14, 96


class RestorationEffects:
    """The effects of restorations in one run, each measured once."""

    def __init__(self, runner: Runner) -> None:
        """The effects between the subjects of `runner`."""
        self._runner = runner
        self._effects: dict[tuple[str, str, str], RestorationEffect] = {}
        self._measured: dict[str, tuple[float | None, float | None]] = {}
        self._selected: tuple[Combination, ...] = ()

    def select(self, combinations: Iterable[Combination]) -> None:
        """Set the combinations whose effects the tests use. Call it before the first effect."""
        self._selected = tuple(dict.fromkeys(combinations))

    @property
    def is_used(self) -> bool:
        """Whether any effect was computed."""
        return bool(self._effects)

    def of(self, combination: Combination, against: str = "raw") -> RestorationEffect:
        """The effect of a restoration on a model's predictions, against another restoration.

        Its p-value is not adjusted for other effects. Raises as `Runner.predict`.
        """
        self._predict_selected()
        model, restoration = combination
        key = (model, restoration, against)
        if key not in self._effects:
            before, after = self._predictions(combination, against)
            effect = restoration_effect.measure_effect(model, restoration, against, before, after)
            self._effects[key] = self._with_measurements(effect)
        return self._effects[key]

    def _predict_selected(self) -> None:
        """Predict what the selected effects compare.

        With several processes each one tests some of the effects, and adjusts the p-values of all.
        """
        selected, self._selected = self._selected, ()
        for model, restoration in selected:
            for combination in (Combination(model, restoration), Combination(model, "raw")):
                if self._runner.is_available(combination):
                    with suppress(FerModelsError):  # raised again by the tests of this combination
                        self._runner.predict(combination)

    def _predictions(self, combination: Combination, against: str) -> tuple[PredictionTable, PredictionTable]:
        """The predictions before and after a restoration, on the faces of the restored combination."""
        data, before = self._runner.dataset_of(combination), Combination(combination[0], against)
        return self._runner.predictions_on(before, data), self._runner.predict(combination).predictions

    def all(self) -> list[RestorationEffect]:
        """Every effect between combinations that were predicted in this run, adjusted for their number."""
        effects: list[RestorationEffect] = []
        for restoration, against in self._contrasts():
            effects += self._contrast(restoration, against)
        return restoration_effect.adjust_effects(effects)

    def _contrasts(self) -> Iterator[tuple[str, str]]:
        """Each restoration, against none and against the control."""
        for restoration in self._runner.restorers.names:
            for against in ("raw", restoration_effect.CONTROL):
                if restoration not in ("raw", against):
                    yield restoration, against

    def _contrast(self, restoration: str, against: str) -> list[RestorationEffect]:
        """The effects of a restoration against another one: over all models, and for each.

        A model counts once over all of them: variants (`NAME+likelihood`, `NAME-probe`, `NAME+NAME`) of
        others are left out there.
        """
        completed = set(self._runner.completed())
        models = [m for m in self._runner.models.names if {(m, restoration), (m, against)} <= completed]
        of_model = {m: self.of(Combination(m, restoration), against) for m in models}
        counted = [m for m in models if not ModelName.parse(m).is_made_of(set(models) - {m})]
        if len(counted) < 2:
            return list(of_model.values())
        predictions = {m: self._predictions(Combination(m, restoration), against) for m in counted}
        pooled = restoration_effect.pooled_effect([of_model[m] for m in counted], predictions)
        return [self._with_measurements(pooled), *of_model.values()]

    def flipped_faces(self, effect: RestorationEffect, most: int = 4) -> dict[str, list[dict[str, Any]]]:
        """Some faces that a restoration corrected and broke, with images, for the page.

        There are none for an effect over all models.
        """
        if effect.model == restoration_effect.ALL_MODELS:
            return {}
        combination = Combination(effect.model, effect.restoration)
        before, after = self._predictions(combination, effect.against)
        corrected, broken = restoration_effect.flipped_faces(before, after, most)
        split = self._runner.dataset_of(combination).full_split
        described = {}
        for kind, places in (("corrected", corrected), ("broken", broken)):
            faces = split.faces(after.index[places])
            images = [self._runner.restore(name, faces) for name in (effect.against, effect.restoration)]
            described[kind] = [
                {
                    "index": int(after.index[i]),
                    "truth": LABELS[before.truth[i]],
                    "answers": [LABELS[p.answer[i]] if p.answer[i] >= 0 else None for p in (before, after)],
                    "pictures": [data_url(resize(image, _IMAGE_SIDE)) for image in pair],
                }
                for i, *pair in zip(places, *images, strict=True)
            ]
        return described

    def _with_measurements(self, effect: RestorationEffect) -> RestorationEffect:
        """The effect with the seconds per face of its restorer, and the fidelity of restored faces."""
        if effect.restoration not in self._measured:
            self._measured[effect.restoration] = self._measure(effect.restoration)
        seconds, fidelity = self._measured[effect.restoration]
        return replace(effect, seconds_per_face=seconds, fidelity=fidelity)

    def _measure(self, name: str) -> tuple[float | None, float | None]:
        """Seconds per face (None where times are not measured), and the fidelity of restored faces."""
        runner = self._runner
        data = runner.data.subsample(_MEASURED_FACES)
        faces = runner.restore("raw", data.faces.faces(range(len(data.faces))))  # the input of models

        def measure_time() -> dict[str, float]:
            restorer = runner.restorer(name)
            restore_validated(restorer, name, faces[:1])  # a warm-up
            started = time.perf_counter()
            restore_validated(restorer, name, faces)
            return {"seconds_per_face": (time.perf_counter() - started) / len(faces)}

        runtime = runner.options.runtime
        identity = runner.restorers[name].identity(runtime)
        step = {
            "phase": "seconds per face",
            "restorer": identity,
            "device": runtime.device,
            "shapes": distinct_shapes(faces),
        }
        restored = restore_validated(runner.cached_restorer(name), name, faces)
        only_stored = runner.options.only_stored_costs
        figures = runner.costs.find(step) if only_stored else runner.costs.get_or_measure(step, measure_time)
        seconds = None if figures is None else float(figures["seconds_per_face"])
        return seconds, restoration_effect.image_fidelity(faces, restored)
