"""What restorations do to the answers of one run: for each model, and over all of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from fer_models.emotions import LABELS
from fer_models.gate import restoration_effect
from fer_models.gate.restoration_effect import RestorationEffect
from fer_models.images import data_url, resize
from fer_models.inference.runner import Combination, Runner
from fer_models.restorers.base import restore_checked
from fer_models.store.predictions import PredictionTable
from fer_models.zoo.model_name import ModelName

#: How many faces are looked at for the time and the likeness of a restoration, and the side of its pictures
#: on the page, in pixels.
_LOOKED_AT, _SHOWN = 14, 96


class RestorationEffects:
    """The effects of restorations in one run, each measured once."""

    def __init__(self, asking: Runner) -> None:
        """The effects between the subjects of `asking`."""
        self._asking = asking
        self._known: dict[tuple[str, str, str], RestorationEffect] = {}
        self._looked: dict[str, tuple[float, float]] = {}

    @property
    def wanted(self) -> bool:
        """Whether anybody asked for one."""
        return bool(self._known)

    def of(self, pair: Combination, against: str = "raw") -> RestorationEffect:
        """What a restoration does to a model's answers, against another one; alone, so p is not adjusted for
        others. Raises as `Asking.run`.
        """
        key = (*pair, against)
        if key not in self._known:
            self._known[key] = self._looked_at(
                restoration_effect.measure_effect(*pair, against, *self._answers(pair, against))
            )
        return self._known[key]

    def _answers(self, pair: Combination, against: str) -> tuple[PredictionTable, PredictionTable]:
        """The answers before and after a restoration, on the faces of the restored pair."""
        data = self._asking.dataset_of(pair)
        return self._asking.answers_among((pair[0], against), data), self._asking.predict(pair).predictions

    def all(self) -> list[RestorationEffect]:
        """Every effect between pairs that were answered in this run, for each model and over all of them,
        adjusted for being many.

        Over all of them each counts once: what is made of others of this run (`NAME+likelihood`,
        `NAME-probe`, `NAME+NAME`) is left out there.
        """
        asking, asked = self._asking, set(self._asking.asked())
        found = []
        for name in asking.restorers.names:
            for against in ("raw", restoration_effect.CONTROL):
                if name in ("raw", against) or (against, name) == (
                    restoration_effect.CONTROL,
                    restoration_effect.CONTROL,
                ):
                    continue
                models = [m for m in asking.models.names if {(m, name), (m, against)} <= asked]
                own = {model: self.of((model, name), against) for model in models}
                # A model that is asked in another way too, probed or fused would count more than once.
                plain = [m for m in models if not ModelName.parse(m).is_made_of(set(models) - {m})]
                if len(plain) > 1:
                    answers = {m: self._answers((m, name), against) for m in plain}
                    found.append(
                        self._looked_at(restoration_effect.pooled_effect([own[m] for m in plain], answers))
                    )
                found += own.values()
        return restoration_effect.adjust_effects(found)

    def flipped_faces(self, effect: RestorationEffect, most: int = 4) -> dict[str, list[dict[str, Any]]]:
        """Some of the faces that a restoration helped and hurt, with pictures, for the page; none for an
        effect over all models.
        """
        if effect.model == restoration_effect.ALL_MODELS:
            return {}
        asking, names = self._asking, (effect.against, effect.restoration)
        before, after = self._answers((effect.model, effect.restoration), effect.against)
        data = asking.dataset_of((effect.model, effect.restoration))
        found = {}
        for kind, places in zip(
            ("corrected", "broken"), restoration_effect.flipped_faces(before, after, most), strict=True
        ):
            faces = data.full_split.faces(after.index[places])
            as_before, as_after = (
                restore_checked(asking.restoration_pipeline(name), name, faces) for name in names
            )
            found[kind] = [
                {
                    "index": int(after.index[i]),
                    "truth": LABELS[before.truth[i]],
                    "answers": [LABELS[a.answer[i]] if a.answer[i] >= 0 else None for a in (before, after)],
                    "pictures": [data_url(resize(one, _SHOWN)) for one in (as_before[k], as_after[k])],
                }
                for k, i in enumerate(places)
            ]
        return found

    def _looked_at(self, effect: RestorationEffect) -> RestorationEffect:
        """With what the restorer takes for a face, in seconds, and how much its faces are like what they
        were; on a few faces, once per run.
        """
        name = effect.restoration
        if name not in self._looked:
            asking = self._asking
            few = asking.data.subsample(_LOOKED_AT)
            faces = restore_checked(
                asking.restoration_pipeline("raw"), "raw", few.faces.faces(few.order)
            )  # as models meet them

            def timed() -> dict[str, float]:
                restorer = asking.restorer(name)
                restore_checked(restorer, name, faces[:1])  # the first face pays for what is made once
                started = time.perf_counter()
                restore_checked(restorer, name, faces)
                return {"seconds_per_face": (time.perf_counter() - started) / len(faces)}

            runtime = asking.options.runtime
            identity = asking.restorers[name].identity(runtime)
            step = {"phase": "seconds per face", "restorer": identity, "device": runtime.device}
            restored = restore_checked(asking.cached_restorer(name), name, faces)
            seconds = float(asking.costs.get_or_measure(step, timed)["seconds_per_face"])
            self._looked[name] = seconds, restoration_effect.image_fidelity(faces, restored)
        seconds, alike = self._looked[name]
        return replace(effect, seconds_per_face=seconds, fidelity=alike)
