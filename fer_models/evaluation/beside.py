"""What is measured of a model beside its answers to the faces as they are: other words, other questions, small changes, bad pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers import prompts
from fer_models.classifiers.base import Classifier, Questioned
from fer_models.classifiers.questions import Question
from fer_models.errors import PredictionError
from fer_models.evaluation import metamorphic, prompting, questioning, robustness
from fer_models.evaluation.asking import Asking, Pair


class Measured(Protocol):
    """One measurement of one subject."""

    def figures(self) -> dict[str, float]:
        """What is recorded with the subject's baseline and held to it, by name."""
        ...

    def as_json(self) -> dict[str, Any]:
        """All of it, for evals.json."""
        ...


@dataclass(frozen=True)
class Kind:
    """One kind of measurement.

    Attributes:
        section: under which name it stands in evals.json.
        measure: makes it; the pair's answers are known by then. Raises as `Asking.run`.
    """

    section: str
    measure: Callable[[Asking, Pair], Measured]


def _prompting(asking: Asking, pair: Pair) -> prompting.Robustness:
    """How much the answers of a model that is asked in words hang on them; from kept directions of all faces."""
    spec, options = asking.models[pair[0]], asking.options
    words = prompts.parse(spec.settings["prompts"], spec.prompt or spec.name)
    with asking.show(f"writing {options.prompt_examples} prompts for {spec.name}", 1) as progress:
        found = prompting.robustness(
            prompting.asker(cast(prompting.Asked, asking.embedding(spec)), asking.features(pair)),
            words,
            asking.data.faces.labels[asking.data.order],
            grammar=[prompts.load(name) for name in prompts.names() if name != words.name],
            examples=options.prompt_examples,
            kept=options.store.parent / "prompts" / f"{asking.shelf(pair).key[:16]}.json",
        )
        progress(1)
    return found


def _questioning(asking: Asking, pair: Pair) -> questioning.Wording:
    """How much the answers of a model that writes hang on how it is asked; on some of the faces."""
    spec, few = asking.models[pair[0]], asking.data.few(asking.options.question_faces)
    own, asked = spec.question, spec.asked
    assert own is not None  # only models that write are asked this
    assert asked is not None

    def put(question: Question) -> Classifier:
        model = asking.classifier(spec.name)
        if not isinstance(model, Questioned):
            raise PredictionError(f"Model {spec.name!r} declares a question, but cannot be asked another one (it has no method asked).")
        return model.asked(question)

    def answers_to(question: Question) -> NDArray[np.int64]:
        return asking.answer_as(asked(question), lambda: put(question), few, progress).answers.answer

    ways = questioning.variants(own)
    with asking.show(f"asking {spec.name} in {len(ways)} ways", len(ways) * len(few.faces)) as progress:
        return questioning.wording(answers_to, own, few.faces.labels[few.order])


def _metamorphic(asking: Asking, pair: Pair) -> metamorphic.Metamorphic:
    """How many answers small changes of the faces change; on some of the faces."""
    few = asking.data.few(asking.options.changed_faces)
    pictures = few.faces.faces(few.order)
    with asking.show(f"changing faces a little for {pair[0]}", metamorphic.COPIES * len(pictures)) as progress:
        return metamorphic.measure(asking.asker(pair, progress), pictures, [(few.faces.hashes[i], int(i)) for i in few.order])


def _robustness(asking: Asking, pair: Pair) -> robustness.Robustness:
    """How much worse the answers become on bad pictures; on some of the faces."""
    few = asking.data.few(asking.options.corrupted_faces)
    pictures, truth = few.faces.faces(few.order), few.faces.labels[few.order]
    with asking.show(f"spoiling faces for {pair[0]}-{pair[1]}", robustness.COPIES * len(pictures)) as progress:
        return robustness.measure(asking.asker(pair, progress), pictures, truth)


#: Every kind, by the name of the fixture that asks for it.
KINDS: Mapping[str, Kind] = {
    "prompting": Kind("prompts", _prompting),
    "questioning": Kind("prompts", _questioning),
    "metamorphic": Kind("metamorphic", _metamorphic),
    "robustness": Kind("corruptions", _robustness),
}
