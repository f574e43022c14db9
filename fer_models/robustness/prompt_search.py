"""Search for the prompt with the lowest accuracy, shrunk by hypothesis to the smallest edit that costs ten
points.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import find, locked_directory, write
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import StoreError, UsageError
from fer_models.scoring.face_counts import FaceCounts

#: How far, in accuracy, a prompt must fall under the unedited one to count as breaking the model.
BREAKING_DROP = 0.10
#: Words that a template may get: what people write around a face without meaning anything by it.
FILLERS = (
    *("photo", "picture", "image", "portrait", "close-up", "human", "person", "young"),
    *("grey", "blurry", "of", "very", "the", "my", "real", "nice"),
)
_ENDS = (".", "!", "?", "...", ",")
_ARTICLES = ("a", "an", "the")
_WHAT = "Prompts that broke a model"


#: The predicted emotion of every face by a prompt set, int64 (n,), -1 for none.
Answer = Callable[[PromptSet], NDArray[np.int64]]


# -- the spread of a set --------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One small change of a prompt.

    Attributes:
        kind: `insert` (a filler), `synonym` (another word for one emotion), `end` (punctuation), `article`,
            `drop` (a word of the template), `case`, or `template` (another one).
        what: what is put in: text, or for `synonym` an emotion's label and the word.
        at: which word of the template, counted from 0 and around the end, for insert, drop and article.
    """

    kind: str
    what: tuple[str, ...] = ()
    at: int = 0

    def __str__(self) -> str:
        said = {
            "insert": "insert {0!r}",
            "synonym": "{1!r} for {0}",
            "end": "end with {0!r}",
            "article": "article {0!r}",
            "case": "{0} case",
        }
        return {"drop": f"drop word {self.at + 1}", "template": "template {0!r}"}.get(
            self.kind, said.get(self.kind, self.kind)
        ).format(*self.what)


@dataclass(frozen=True)
class Prompt:
    """One template, one word per emotion."""

    template: str
    words: tuple[str, ...]

    def edited(self, edits: Sequence[Edit]) -> Prompt:
        """The prompt with all edits made, one after the other; one that cannot be made changes nothing."""
        prompt = self
        for edit in edits:
            prompt = _apply(prompt, edit)
        return prompt

    def as_set(self, name: str) -> PromptSet | None:
        """It as a set to ask with; None where two emotions would be called the same, or the template lost its
        gap.
        """
        if self.template.count("{}") != 1 or len({" ".join(w.lower().split()) for w in self.words}) < len(
            EMOTIONS
        ):
            return None
        return PromptSet(name, (self.template,), tuple((w,) for w in self.words))


def _apply(prompt: Prompt, edit: Edit) -> Prompt:
    if edit.kind == "synonym":
        emotion, word = edit.what
        return replace(
            prompt,
            words=tuple(
                word if label == emotion else own for label, own in zip(LABELS, prompt.words, strict=True)
            ),
        )
    template = prompt.template
    tokens = template.split()
    if edit.kind == "template":
        template = edit.what[0]
    elif edit.kind == "insert":
        at = edit.at % (len(tokens) + 1)
        template = " ".join([*tokens[:at], edit.what[0], *tokens[at:]])
    elif edit.kind == "drop":
        droppable = [i for i, token in enumerate(tokens) if "{}" not in token]
        if droppable:
            gone = droppable[edit.at % len(droppable)]
            template = " ".join(token for i, token in enumerate(tokens) if i != gone)
    elif edit.kind == "end":
        template = template.rstrip(" .!?,") + edit.what[0]
    elif edit.kind == "article":
        places = [i for i, token in enumerate(tokens) if token.lower() in _ARTICLES]
        if places:
            tokens[places[edit.at % len(places)]] = edit.what[0]
            template = " ".join(tokens)
    elif edit.kind == "case":
        template = {"upper": template.upper(), "title": template.title(), "lower": template.lower()}[
            edit.what[0]
        ]
    return replace(prompt, template=template)


def edits_of(grammar: Sequence[PromptSet]) -> st.SearchStrategy[Edit]:
    """All edits that the templates and words of some sets allow; the smallest kinds come first, for shrinking
    goes towards them.
    """
    words = list(
        dict.fromkeys((LABELS[e], word) for prompts in grammar for e in EMOTIONS for word in prompts.words[e])
    )
    templates = list(dict.fromkeys((template,) for prompts in grammar for template in prompts.templates))
    place = st.integers(0, 11)
    return st.one_of(
        st.builds(Edit, st.just("insert"), st.sampled_from([(filler,) for filler in FILLERS]), place),
        st.builds(Edit, st.just("end"), st.sampled_from([(end,) for end in _ENDS])),
        st.builds(Edit, st.just("article"), st.sampled_from([(article,) for article in _ARTICLES]), place),
        st.builds(Edit, st.just("drop"), st.just(()), place),
        st.builds(Edit, st.just("case"), st.sampled_from([("upper",), ("title",)])),
        st.builds(Edit, st.just("synonym"), st.sampled_from(words)),
        st.builds(Edit, st.just("template"), st.sampled_from(templates)),
    )


@dataclass(frozen=True)
class WorstPromptSearch:
    """What the search found.

    Attributes:
        base: the unedited prompt, the set's first template and words, and its accuracy (0..1).
        worst: the prompt with the lowest accuracy that was tried, the edits that lead to it, and its
            accuracy.
        breaking: the smallest edits found that cost at least `BREAK`; None where nothing did.
        tried: how many different prompts were asked.
        examples, seed: what was asked for; the same two find the same again.
        face_counts: which faces are predicted correctly with the worst prompt.
    """

    base: dict[str, Any]
    worst: dict[str, Any]
    breaking: dict[str, Any] | None
    tried: int
    examples: int
    seed: int
    face_counts: FaceCounts = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {name: value for name, value in asdict(self).items() if name != "face_counts"}


class _Broken(Exception):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)


class _Search:
    """The prompts that were tried around one, each evaluated once: their correct answers, and the fewest
    edits that lead to each.
    """

    def __init__(self, answer: Answer, prompts: PromptSet, truth: NDArray[np.int64]) -> None:
        self._answer, self._truth, self._name = answer, truth, prompts.name
        self.base = Prompt(prompts.templates[0], tuple(own[0] for own in prompts.words))
        self.known: dict[Prompt, NDArray[np.bool_]] = {}
        self.edits: dict[Prompt, tuple[Edit, ...]] = {}
        plain = self.tried(())
        assert plain is not None  # a sound set has seven different words and one gap
        self.plain = plain

    @property
    def worst(self) -> Prompt:
        """The prompt with the lowest accuracy."""
        return min(self.known, key=lambda prompt: int(self.known[prompt].sum()))

    def tried(self, edits: Sequence[Edit]) -> float | None:
        """The accuracy of the edited prompt; None where nobody could ask with it."""
        prompt = self.base.edited(edits)
        if prompt not in self.known:
            try:
                asked = prompt.as_set(self._name)
                if asked is None:
                    return None
                self.known[prompt] = self._answer(asked) == self._truth
            except UsageError:  # longer than the model can read
                return None
        if prompt not in self.edits or len(edits) < len(self.edits[prompt]):
            self.edits[prompt] = tuple(edits)
        return float(self.known[prompt].mean())

    def breaks(self, edits: Sequence[Edit]) -> bool:
        """Whether the edits cost at least `BREAK`."""
        accuracy = self.tried(edits)
        return accuracy is not None and accuracy <= self.plain - BREAKING_DROP

    def explore(
        self, edits: st.SearchStrategy[Edit], examples: int, number: int, *, until_broken: bool
    ) -> tuple[Edit, ...] | None:
        """Let hypothesis write lists of edits, driven towards low accuracy; with `until_broken` it stops at
        one that breaks the model, and shrinks it to the one that is given back.
        """

        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.target, *([Phase.shrink] if until_broken else [])),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            print_blob=False,
            report_multiple_bugs=False,
        )
        @given(st.lists(edits, min_size=1, max_size=4))
        def holds(written: list[Edit]) -> None:
            accuracy = self.tried(written)
            if accuracy is None:
                return
            target(-accuracy, label="accuracy, low")
            if until_broken and self.breaks(written):
                raise _Broken(written)

        try:
            holds()
        except _Broken as broken:
            return broken.edits
        return None

    def described(self, prompt: Prompt, edits: Sequence[Edit]) -> dict[str, Any]:
        """A prompt that was tried, for evals.json."""
        return {
            "template": prompt.template,
            "words": dict(zip(LABELS, prompt.words, strict=True)),
            "edits": [str(edit) for edit in edits],
            "accuracy": float(self.known[prompt].mean()),
        }


def search(
    answer: Answer,
    prompts: PromptSet,
    truth: NDArray[np.int64],
    *,
    grammar: Sequence[PromptSet] = (),
    examples: int = 200,
    number: int = 0,
    breaking_file: Path | None = None,
) -> WorstPromptSearch:
    """Look for the prompt that the model answers worst, and for the smallest edit that breaks it.

    hypothesis writes lists of edits, is driven towards low accuracy, and shrinks what breaks the model to
    fewer and simpler edits: once on to the end, for the worst, and once until the model breaks, for the
    smallest.

    Args:
        prompts: its first template and first words are where the search starts.
        grammar: sets whose templates and words may be put in, beside its own.
        examples: how many prompts hypothesis may write; shrinking comes on top.
        number: the seed.
        breaking_file: a file in which the edits that broke the model are kept (its name on disk has a checksum, see
            `folder`), and tried first the next time. (hypothesis keeps no examples of a seeded search.)
    """
    asked, edits = _Search(answer, prompts, truth), edits_of([prompts, *grammar])
    before = _load_edits(breaking_file)
    asked.explore(edits, examples, number, until_broken=False)
    found = [
        before if before and asked.breaks(before) else None,
        asked.explore(edits, examples, number, until_broken=True),
    ]
    smallest = min((broke for broke in found if broke is not None), key=len, default=None)
    if smallest is not None and breaking_file is not None:
        content = json.dumps([asdict(edit) for edit in smallest]).encode()
        with (
            suppress(StoreError),
            locked_directory(breaking_file.parent, _WHAT),
        ):  # a convenience: without it the next search starts from nothing
            find(breaking_file.parent, breaking_file.name, _parse_edits, remove_damaged=True)
            write(breaking_file.parent, breaking_file.name, content, _WHAT)
    return WorstPromptSearch(
        asked.described(asked.base, ()),
        asked.described(asked.worst, asked.edits[asked.worst]),
        None if smallest is None else asked.described(asked.base.edited(smallest), smallest),
        len(asked.known),
        examples,
        number,
        FaceCounts(asked.known[asked.worst].astype(np.int64), 1),
    )


def _load_edits(path: Path | None) -> tuple[Edit, ...]:
    """The edits in a file that `search` wrote; none where there is no valid one."""
    return () if path is None else find(path.parent, path.name, _parse_edits) or ()


def _parse_edits(content: bytes) -> tuple[Edit, ...]:
    return tuple(Edit(str(e["kind"]), tuple(map(str, e["what"])), int(e["at"])) for e in json.loads(content))


# -- all of it, and its record --------------------------------------------------------------------
