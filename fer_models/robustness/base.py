"""What is measured of a model beside its answers to the faces as they are: other words, other questions,
small changes, bad pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers import prompts
from fer_models.classifiers.vlm.questions import Question
from fer_models.inference.dataset import EvalDataset
from fer_models.inference.runner import Combination, Runner
from fer_models.robustness import corruption_robustness, metamorphic, prompt_robustness, question_robustness
from fer_models.scoring.face_counts import FaceCounts


class RobustnessResult(Protocol):
    """One measurement of one subject."""

    def figures(self) -> dict[str, FaceCounts]:
        """What is recorded with the subject's baseline and held to it, by name: counts per face, faces in
        canonical order.
        """
        ...

    def as_json(self) -> dict[str, Any]:
        """All of it, for evals.json."""
        ...


@dataclass(frozen=True)
class RobustnessCheck:
    """One kind of measurement.

    Attributes:
        section: under which name it stands in evals.json.
        measure: makes it; the pair's answers are known by then. Raises as `Asking.run`.
        faces: the faces that it is computed over.
    """

    section: str
    measure: Callable[[Runner, Combination], RobustnessResult]
    faces: Callable[[Runner, Combination], EvalDataset]


def _prompting(asking: Runner, pair: Combination) -> prompt_robustness.PromptRobustness:
    """Prompt sensitivity of a zero-shot model, from the embeddings of all faces."""
    spec, depth, data = asking.models[pair[0]], asking.options.depth, asking.dataset_of(pair)
    own = prompts.parse(spec.settings["prompts"], spec.prompt or spec.name)
    title = f"{spec.name}: searching {depth.prompt_search_examples} prompts"
    with asking.show(title, 1) as progress, asking.prompt_classifier(pair) as classify:
        found = prompt_robustness.robustness(
            classify,
            own,
            data.faces.labels[data.order],
            grammar=[prompts.load(name) for name in prompts.names() if name != own.name],
            examples=depth.prompt_search_examples,
            suffix=depth.size_suffix("prompt_search_examples"),
            kept=asking.options.store.parent / "prompts" / f"{asking.partition(pair).key[:16]}.json",
        )
        progress(1)
    return found


def _questioning(asking: Runner, pair: Combination) -> question_robustness.QuestionRobustness:
    """Question and option-order robustness of a vision-language model; on some of the faces."""
    depth = asking.options.depth
    own, few = asking.models[pair[0]].question, _question_faces(asking, pair)
    assert own is not None  # other models are deselected
    pictures, variants = few.faces.faces(few.order), question_robustness.variants(own)

    def answers_to(question: Question) -> NDArray[np.int64]:
        with asking.predictor(pair, question=question, progress=progress) as predict:
            return predict(pictures).answer

    with asking.show(f"{pair[0]}: {len(variants)} questions", len(variants) * len(pictures)) as progress:
        return question_robustness.question_robustness(
            answers_to, own, few.faces.labels[few.order], depth.size_suffix("question_limit")
        )


def _metamorphic(asking: Runner, pair: Combination) -> metamorphic.MetamorphicRobustness:
    """Metamorphic robustness: how many predictions small perturbations change; on some of the faces."""
    depth = asking.options.depth
    few = _metamorphic_faces(asking, pair)
    pictures = few.faces.faces(few.order)
    names = [(few.faces.hashes[i], int(row)) for i, row in zip(few.order, few.index, strict=True)]
    title = f"{pair[0]}: metamorphic robustness"
    with (
        asking.show(title, metamorphic.COPIES * len(pictures)) as progress,
        asking.predictor(pair, progress=progress) as predict,
    ):
        sizes = {"searched": depth.searched_faces, "examples": depth.search_examples}
        return metamorphic.measure(
            predict, pictures, names, **sizes, suffix=depth.size_suffix("metamorphic_limit")
        )


def _robustness(asking: Runner, pair: Combination) -> corruption_robustness.CorruptionRobustness:
    """Corruption robustness; on some of the faces."""
    depth = asking.options.depth
    few = _corruption_faces(asking, pair)
    pictures, truth = few.faces.faces(few.order), few.faces.labels[few.order]
    title, n = (
        f"{pair[0]}-{pair[1]}: corruption robustness",
        corruption_robustness.copies(depth.severities) * len(pictures),
    )
    with asking.show(title, n) as progress, asking.predictor(pair, progress=progress) as predict:
        suffix = depth.size_suffix("corruption_limit", "severities")
        return corruption_robustness.measure(predict, pictures, truth, depth.severities, suffix)


def _question_faces(asking: Runner, pair: Combination) -> EvalDataset:
    return asking.data.subsample(asking.options.depth.question_limit)


def _metamorphic_faces(asking: Runner, pair: Combination) -> EvalDataset:
    return asking.data.subsample(asking.options.depth.metamorphic_limit)


def _corruption_faces(asking: Runner, pair: Combination) -> EvalDataset:
    return asking.data.subsample(asking.options.depth.corruption_limit)


#: Every kind, by the name of the fixture that asks for it.
ROBUSTNESS_CHECKS: Mapping[str, RobustnessCheck] = {
    "prompting": RobustnessCheck("prompts", _prompting, Runner.dataset_of),
    "questioning": RobustnessCheck("prompts", _questioning, _question_faces),
    "metamorphic": RobustnessCheck("metamorphic", _metamorphic, _metamorphic_faces),
    "robustness": RobustnessCheck("corruptions", _robustness, _corruption_faces),
}
