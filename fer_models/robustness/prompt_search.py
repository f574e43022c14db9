"""Search for the prompt with the lowest accuracy, and for the smallest edit that costs ten points."""

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

#: Loss of accuracy, against the unedited prompt, that counts as breaking the model.
BREAKING_DROP = 0.10
#: Words that may be inserted into a template, and do not change its meaning.
FILLERS = (
    *("photo", "picture", "image", "portrait", "close-up", "human", "person", "young"),
    *("grey", "blurry", "of", "very", "the", "my", "real", "nice"),
)
_ENDS = (".", "!", "?", "...", ",")
_ARTICLES = ("a", "an", "the")
_WHAT = "Prompts that broke a model"


#: The predicted emotion of every face by a prompt set, int64 (n,), -1 for none.
Answer = Callable[[PromptSet], NDArray[np.int64]]


_CASES = {"upper": str.upper, "title": str.title, "lower": str.lower}
#: The number of texts in `Edit.what`, by kind.
_TEXTS = {"insert": 1, "synonym": 2, "end": 1, "article": 1, "drop": 0, "case": 1, "template": 1}


@dataclass(frozen=True)
class Edit:
    """One edit of a prompt.

    Attributes:
        kind: `insert` (a filler), `synonym` (another word for one emotion), `end` (punctuation), `article`,
            `drop` (a word of the template), `case`, or `template` (another one).
        what: the inserted text, or for `synonym` an emotion's label and the word.
        at: which word of the template, counted from 0 and around the end, for insert, drop and article.
    """

    kind: str
    what: tuple[str, ...] = ()
    at: int = 0

    def __str__(self) -> str:
        formats = {
            "insert": "insert {0!r}",
            "synonym": "{1!r} for {0}",
            "end": "end with {0!r}",
            "article": "article {0!r}",
            "case": "{0} case",
        }
        return {"drop": f"drop word {self.at + 1}", "template": "template {0!r}"}.get(
            self.kind, formats.get(self.kind, self.kind)
        ).format(*self.what)


@dataclass(frozen=True)
class Prompt:
    """One template, one word per emotion."""

    template: str
    words: tuple[str, ...]

    def edited(self, edits: Sequence[Edit]) -> Prompt:
        """The prompt after all edits, one after the other; an impossible one changes nothing."""
        prompt = self
        for edit in edits:
            prompt = _apply(prompt, edit)
        return prompt

    def as_set(self, name: str) -> PromptSet | None:
        """The prompt as a set; None where two emotions have the same word, or the template has no gap."""
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
                word if label == emotion else each for label, each in zip(LABELS, prompt.words, strict=True)
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
        template = _CASES[edit.what[0]](template)
    return replace(prompt, template=template)


def edits_of(grammar: Sequence[PromptSet]) -> st.SearchStrategy[Edit]:
    """All edits with the templates and words of some sets; shrinking goes towards the first kinds."""
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
    """Result of the search.

    Attributes:
        base: the unedited prompt, the set's first template and words, and its accuracy (0..1).
        worst: the prompt with the lowest accuracy that was tried, the edits that lead to it, and its
            accuracy.
        breaking: the smallest edits found that cost at least `BREAKING_DROP`; None where nothing did.
        tried: the number of different prompts of this search.
        examples, seed: of the search; the same two give the same result.
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


class _BrokenError(Exception):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = tuple(edits)


class _Search:
    """Evaluated prompts around one: the correct predictions of each, and the fewest edits that lead to it."""

    def __init__(self, answer: Answer, prompts: PromptSet, truth: NDArray[np.int64]) -> None:
        self._answer, self._truth, self._name = answer, truth, prompts.name
        self.base = Prompt(prompts.templates[0], tuple(words[0] for words in prompts.words))
        self.correct: dict[Prompt, NDArray[np.bool_]] = {}
        self.edits: dict[Prompt, tuple[Edit, ...]] = {}
        plain = self.accuracy(())
        assert plain is not None  # a sound set has seven different words and one gap
        self.plain = plain

    @property
    def worst(self) -> Prompt:
        """The prompt with the lowest accuracy."""
        return min(self.correct, key=lambda prompt: int(self.correct[prompt].sum()))

    def accuracy(self, edits: Sequence[Edit]) -> float | None:
        """The accuracy of the edited prompt; None where it is no valid prompt for the model."""
        prompt = self.base.edited(edits)
        if prompt not in self.correct:
            try:
                prompt_set = prompt.as_set(self._name)
                if prompt_set is None:
                    return None
                self.correct[prompt] = self._answer(prompt_set) == self._truth
            except UsageError:  # longer than the model can read
                return None
        if prompt not in self.edits or len(edits) < len(self.edits[prompt]):
            self.edits[prompt] = tuple(edits)
        return float(self.correct[prompt].mean())

    def breaks(self, edits: Sequence[Edit]) -> bool:
        """Whether the edits cost at least `BREAKING_DROP`."""
        accuracy = self.accuracy(edits)
        return accuracy is not None and accuracy <= self.plain - BREAKING_DROP

    def explore(
        self, edits: st.SearchStrategy[Edit], examples: int, number: int, *, until_broken: bool
    ) -> tuple[Edit, ...] | None:
        """Generate lists of edits with hypothesis, driven towards low accuracy.

        With `until_broken` it stops at edits that break the model, shrinks them, and returns them.
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
            accuracy = self.accuracy(written)
            if accuracy is None:
                return
            target(-accuracy, label="accuracy, low")
            if until_broken and self.breaks(written):
                raise _BrokenError(written)

        try:
            holds()
        except _BrokenError as broken:
            return broken.edits
        return None

    def described(self, prompt: Prompt, edits: Sequence[Edit]) -> dict[str, Any]:
        """An evaluated prompt, for evals.json."""
        return {
            "template": prompt.template,
            "words": dict(zip(LABELS, prompt.words, strict=True)),
            "edits": [str(edit) for edit in edits],
            "accuracy": float(self.correct[prompt].mean()),
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
    """Search the prompt with the lowest accuracy, and the smallest edit that breaks the model.

    hypothesis generates lists of edits, driven towards low accuracy, and shrinks those that break the model
    to fewer and simpler edits: once to the end, for the worst prompt, and once until the model breaks, for
    the smallest edit.

    Args:
        answer: predicts all faces with a prompt set.
        prompts: the search starts from its first template and first words.
        truth: (n,) emotions.
        grammar: further sets whose templates and words may be used.
        examples: the number of prompts that hypothesis generates; shrinking adds some.
        number: the seed.
        breaking_file: stores the edits that broke the model, which the next search tries too (its name on
            disk has a checksum, see `checksummed_files`; hypothesis stores no examples of a seeded search).
    """
    searched, edits = _Search(answer, prompts, truth), edits_of([prompts, *grammar])
    searched.explore(edits, examples, number, until_broken=False)
    broken = [searched.explore(edits, examples, number, until_broken=True)]
    # The judged figure depends on this search alone, and not on what earlier ones left in the file.
    worst, tried = searched.worst, len(searched.correct)
    worst_edits = searched.edits[worst]
    before = _load_edits(breaking_file)
    if before and searched.breaks(before):
        broken.append(before)
    smallest = min((broke for broke in broken if broke is not None), key=len, default=None)
    if smallest is not None and breaking_file is not None:
        content = json.dumps([asdict(edit) for edit in smallest]).encode()
        folder, name = breaking_file.parent, breaking_file.name
        with suppress(StoreError), locked_directory(folder, _WHAT):  # without it the search finds them again
            find(folder, name, _parse_edits, remove_damaged=True)
            write(folder, name, content, _WHAT)
    return WorstPromptSearch(
        searched.described(searched.base, ()),
        searched.described(worst, worst_edits),
        None if smallest is None else searched.described(searched.base.edited(smallest), smallest),
        tried,
        examples,
        number,
        FaceCounts(searched.correct[worst].astype(np.int64), 1),
    )


def _load_edits(path: Path | None) -> tuple[Edit, ...]:
    """The edits in a file that `search` wrote; none if it is missing or invalid."""
    return () if path is None else find(path.parent, path.name, _parse_edits) or ()


def _parse_edits(content: bytes) -> tuple[Edit, ...]:
    """Parse the edits in a file; raise one of `checksummed_files.INVALID` where one cannot be applied."""
    edits = tuple(Edit(str(e["kind"]), tuple(map(str, e["what"])), int(e["at"])) for e in json.loads(content))
    for edit in edits:
        if edit.kind not in _TEXTS or len(edit.what) != _TEXTS[edit.kind]:
            raise ValueError(f"it has an edit of the kind {edit.kind!r} with {len(edit.what)} texts")
        if edit.kind == "case" and edit.what[0] not in _CASES:
            raise ValueError("it has an unknown case")
    return edits
