"""Robustness checks: prompts, questions, metamorphic relations, corruptions, engines."""

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
from fer_models.robustness import (
    corruption_robustness,
    metamorphic,
    parity,
    prompt_robustness,
    question_robustness,
)
from fer_models.scoring.face_counts import FaceCounts


class RobustnessResult(Protocol):
    """Result of one check of one subject."""

    def figures(self) -> dict[str, FaceCounts]:
        """Recorded and judged figures by name: counts per face, faces in canonical order."""
        ...

    def as_json(self) -> dict[str, Any]:
        """All of it, for evals.json."""
        ...


@dataclass(frozen=True)
class RobustnessCheck:
    """One kind of robustness check.

    Attributes:
        section: its section in evals.json.
        measure: measures it for a combination that was predicted already. Raises as `Runner.predict`.
        faces: the faces that it is computed over.
        is_available: whether this machine can measure it.
    """

    section: str
    measure: Callable[[Runner, Combination], RobustnessResult]
    faces: Callable[[Runner, Combination], EvalDataset]
    is_available: Callable[[Runner, Combination], bool] = Runner.is_available


def _measure_prompts(runner: Runner, combination: Combination) -> prompt_robustness.PromptRobustness:
    """Prompt sensitivity of a zero-shot model, from the embeddings of all faces."""
    model, depth = runner.models[combination.model], runner.options.depth
    prompt_set = prompts.parse(model.settings["prompts"], model.prompt or model.name)
    examples = depth.prompt_search_examples
    file = f"{runner.partition(combination).key[:16]}.json"
    title = f"{model.name}: searching {examples} prompts"
    with runner.show(title, 1) as progress, runner.prompt_classifier(combination) as classify:
        result = prompt_robustness.prompt_robustness(
            classify,
            prompt_set,
            runner.dataset_of(combination).faces.labels,
            grammar=[prompts.load(name) for name in prompts.names() if name != prompt_set.name],
            examples=examples,
            suffix=depth.size_suffix("prompt_search_examples"),
            breaking_file=runner.options.caches / "prompts" / file,
        )
        progress(1)
    return result


def _measure_questions(runner: Runner, combination: Combination) -> question_robustness.QuestionRobustness:
    """Question and option-order robustness of a vision-language model; on some of the faces."""
    question, data = runner.models[combination.model].question, _question_faces(runner, combination)
    assert question is not None  # tests of other models are deselected
    faces, variants = data.faces.faces(range(len(data.faces))), question_robustness.variants(question)

    def predict_with(variant: Question) -> NDArray[np.int64]:
        with runner.predictor(combination, question=variant, progress=progress) as predict:
            return predict(faces).answer

    title = f"{combination.model}: {len(variants)} questions"
    suffix = runner.options.depth.size_suffix("question_limit")
    with runner.show(title, len(variants) * len(faces)) as progress:
        return question_robustness.question_robustness(predict_with, question, data.faces.labels, suffix)


def _measure_metamorphic(runner: Runner, combination: Combination) -> metamorphic.MetamorphicRobustness:
    """Flip rates under small perturbations; on some of the faces."""
    depth, data = runner.options.depth, _metamorphic_faces(runner, combination)
    faces = data.faces.faces(range(len(data.faces)))
    names = list(zip(data.faces.hashes, data.index.tolist(), strict=True))
    title = f"{combination.model}: metamorphic robustness"
    suffix = depth.size_suffix("metamorphic_limit")
    with (
        runner.show(title, metamorphic.COPIES * len(faces)) as progress,
        runner.predictor(combination, progress=progress) as predict,
    ):
        searched, examples = depth.searched_faces, depth.search_examples
        return metamorphic.measure(predict, faces, names, searched=searched, examples=examples, suffix=suffix)


def _measure_corruptions(
    runner: Runner, combination: Combination
) -> corruption_robustness.CorruptionRobustness:
    """Corruption robustness; on some of the faces."""
    depth, data = runner.options.depth, _corruption_faces(runner, combination)
    faces = data.faces.faces(range(len(data.faces)))
    title = f"{combination.model}-{combination.restoration}: corruption robustness"
    total = corruption_robustness.copies(depth.severities) * len(faces)
    suffix = depth.size_suffix("corruption_limit", "severities")
    with runner.show(title, total) as progress, runner.predictor(combination, progress=progress) as predict:
        return corruption_robustness.measure(predict, faces, data.faces.labels, depth.severities, suffix)


def _question_faces(runner: Runner, combination: Combination) -> EvalDataset:
    return runner.data.subsample(runner.options.depth.question_limit)


def _metamorphic_faces(runner: Runner, combination: Combination) -> EvalDataset:
    return runner.data.subsample(runner.options.depth.metamorphic_limit)


def _corruption_faces(runner: Runner, combination: Combination) -> EvalDataset:
    return runner.data.subsample(runner.options.depth.corruption_limit)


#: Every kind of check, by the name of its fixture.
ROBUSTNESS_CHECKS: Mapping[str, RobustnessCheck] = {
    "prompt_robustness": RobustnessCheck("prompts", _measure_prompts, Runner.dataset_of),
    "question_robustness": RobustnessCheck("prompts", _measure_questions, _question_faces),
    "metamorphic": RobustnessCheck("metamorphic", _measure_metamorphic, _metamorphic_faces),
    "robustness": RobustnessCheck("corruptions", _measure_corruptions, _corruption_faces),
    "parity": RobustnessCheck("parity", parity.measure, Runner.dataset_of, parity.is_available),
}
