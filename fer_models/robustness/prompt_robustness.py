"""Prompt robustness: each template and synonym alone, edits that keep the meaning, and the worst prompt.

All of it uses stored embeddings (see `inference.embeddings`): a prompt costs seven texts and one matrix
product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.robustness.prompt_search import Answer, WorstPromptSearch, search
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import fleiss_kappa, wilson_interval


@dataclass(frozen=True)
class PromptSensitivity:
    """Scores of a prompt set's templates and words alone.

    Accuracies are JSON measurements: value, low, high (Wilson, 95 %).

    Attributes:
        ensemble: the full set, averaged as usual.
        templates: each template with all words.
        words: for each emotion with several words, each word alone in its place (the other emotions keep all
            theirs).
        mean, sd, worst, best: over the templates' accuracies.
        kappa: Fleiss' kappa between the templates' predictions; None for a single one.
        flip_rate: the mean share of faces with another prediction by a single template than by the full set.
        face_counts: the counts per face by figure.
    """

    ensemble: dict[str, float]
    templates: dict[str, dict[str, float]]
    words: dict[str, dict[str, dict[str, float]]]
    mean: float
    sd: float
    worst: float
    best: float
    kappa: float | None
    flip_rate: float
    face_counts: dict[str, FaceCounts] = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {name: value for name, value in asdict(self).items() if name != "face_counts"}


def prompt_sensitivity(answer: Answer, prompts: PromptSet, truth: NDArray[np.int64]) -> PromptSensitivity:
    """Scores with every template and every word alone."""
    full = answer(prompts)
    single = {template: answer(prompts.only(template=template)) for template in prompts.templates}
    scores = [float((p == truth).mean()) for p in single.values()]
    each_word = {
        LABELS[e]: {word: answer(_with_words(prompts, e, (word,))) for word in prompts.words[e]}
        for e in EMOTIONS
        if len(prompts.words[e]) > 1
    }
    face_counts = spread_counts(
        truth, full, list(single.values()), {e: list(p.values()) for e, p in each_word.items()}
    )
    return PromptSensitivity(
        _accuracy(full, truth),
        {template: _accuracy(p, truth) for template, p in single.items()},
        {
            emotion: {word: _accuracy(p, truth) for word, p in each.items()}
            for emotion, each in each_word.items()
        },
        float(np.mean(scores)),
        float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        min(scores),
        max(scores),
        fleiss_kappa(list(single.values())),
        face_counts[_FLIPS].value,
        face_counts,
    )


_FLIPS = "flip rate, one template"


def spread_counts(
    truth: NDArray[np.int64],
    full: NDArray[np.int64],
    templates: Sequence[NDArray[np.int64]],
    words: Mapping[str, Sequence[NDArray[np.int64]]],
) -> dict[str, FaceCounts]:
    """Counts per face of the figures of a prompt set, by figure.

    Args:
        truth: (n,) emotions.
        full: (n,) the predictions with the full set.
        templates: (n,) the predictions with each template alone.
        words: for an emotion, (n,) the predictions with each of its words alone.
    """
    worst = {"accuracy of the worst template": worst_counts([p == truth for p in templates])}
    for emotion, each in words.items():
        worst[f"accuracy of the worst word for {emotion}"] = worst_counts([p == truth for p in each])
    flips = (np.stack(templates) != full).sum(axis=0)
    return {**worst, _FLIPS: FaceCounts(flips, len(templates))}


def worst_counts(correct: Sequence[NDArray[np.bool_]]) -> FaceCounts:
    """Which faces are predicted correctly where the fewest are; the first of equals."""
    return FaceCounts(min(correct, key=lambda one: int(one.sum())).astype(np.int64), 1)


def _with_words(prompts: PromptSet, emotion: int, words: tuple[str, ...]) -> PromptSet:
    return replace(
        prompts, words=tuple(words if e == emotion else each for e, each in enumerate(prompts.words))
    )


def _accuracy(answer: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    return dict(wilson_interval(int((answer == truth).sum()), len(truth)).as_json())


# -- edits that keep the meaning ------------------------------------------------------------------

#: Edits of all templates at once, by name; edits of case are made in the words too.
INVARIANCES: Mapping[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "title case": str.title,
    "no final stop": lambda t: t.rstrip(" .!?") or t,
    "final exclamation mark": lambda t: f"{t.rstrip(' .!?')}!",
    "double spaces": lambda t: t.replace(" ", "  "),
    "spaces around": lambda t: f"  {t}  ",
    "the for a": lambda t: re.sub(r"\b(a|an)\b", "the", t, flags=re.IGNORECASE),
    "no articles": lambda t: re.sub(r"\b(a|an|the) ", "", t, flags=re.IGNORECASE),
}


def invariances(answer: Answer, prompts: PromptSet) -> dict[str, FaceCounts]:
    """Flipped predictions under each of `INVARIANCES`, and in the reverse order of templates and words."""
    full = answer(prompts)
    changed = {name: _templates(prompts, edit) for name, edit in INVARIANCES.items()}
    reverse = replace(
        prompts, templates=prompts.templates[::-1], words=tuple(each[::-1] for each in prompts.words)
    )
    others = {**changed, "order of the list": reverse}
    return {name: FaceCounts((answer(other) != full).astype(np.int64), 1) for name, other in others.items()}


def _templates(prompts: PromptSet, edit: Callable[[str], str]) -> PromptSet:
    templates = tuple(dict.fromkeys(edit(template) for template in prompts.templates))
    words = (
        tuple(tuple(map(edit, each)) for each in prompts.words)
        if edit in (str.upper, str.title)
        else prompts.words
    )
    return replace(prompts, templates=templates, words=words)


# -- the search -----------------------------------------------------------------------------------


#: Prefix of the figures in the `metrics` of a record.
PREFIX = "prompts: "


@dataclass(frozen=True)
class PromptRobustness:
    """Prompt sensitivity of one model on one set of faces.

    Attributes:
        edits: the flipped predictions of each edit that keeps the meaning (`invariances`).
        suffix: of the recorded search figure's name, for its size (`Depth.size_suffix`).
    """

    prompts: PromptSet
    n: int
    spread: PromptSensitivity
    edits: dict[str, FaceCounts] = field(compare=False)
    worst_prompt: WorstPromptSearch
    suffix: str = ""

    @property
    def invariances(self) -> dict[str, float]:
        """The flip rate of each edit that keeps the meaning."""
        return {name: counts.value for name, counts in self.edits.items()}

    def figures(self) -> dict[str, FaceCounts]:
        """The recorded figures: accuracies, which must not fall, and flip rates, which must not rise."""
        counted = {
            **self.spread.face_counts,
            f"accuracy of the worst prompt found{self.suffix}": self.worst_prompt.face_counts,
        }
        counted |= {f"flip rate, {name}": counts for name, counts in self.edits.items()}
        return {f"{PREFIX}{name}": counts for name, counts in counted.items()}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {
            "n": self.n,
            "set": {"name": self.prompts.name, **self.prompts.as_json()},
            "sensitivity": self.spread.as_json(),
            "invariances": self.invariances,
            "search": self.worst_prompt.as_json(),
        }


def prompt_robustness(
    answer: Answer,
    prompts: PromptSet,
    truth: NDArray[np.int64],
    *,
    grammar: Sequence[PromptSet] = (),
    examples: int = 200,
    suffix: str = "",
    breaking_file: Path | None = None,
) -> PromptRobustness:
    """Measure all of it; arguments as for `prompt_sensitivity`, `search` and `PromptRobustness`."""
    return PromptRobustness(
        prompts,
        len(truth),
        prompt_sensitivity(answer, prompts, truth),
        invariances(answer, prompts),
        search(answer, prompts, truth, grammar=grammar, examples=examples, breaking_file=breaking_file),
        suffix,
    )
