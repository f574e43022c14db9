"""How much an answer hangs on the words: every template and synonym alone, edits that should not matter, and a search for the worst prompt.

All of it works on directions of faces that were kept (see `features`): a prompt costs seven texts and one matrix product.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_models.artifacts.checksummed_files import find, locked, write
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import EMOTIONS, LABELS
from fer_models.errors import StoreError, UsageError
from fer_models.scoring.face_counts import FaceCounts
from fer_models.scoring.intervals import agreement, wilson

#: How far, in accuracy, a prompt must fall under the unedited one to count as breaking the model.
BREAK = 0.10
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
class Spread:
    """What a set's templates and words score alone. Accuracies are JSON measurements: value, low, high (Wilson, 95 %).

    Attributes:
        ensemble: the whole set, averaged as usual.
        templates: each template with all words.
        words: for each emotion with several words, each word alone in its place (the other emotions keep all theirs).
        mean, sd, worst, best: over the templates' accuracies.
        kappa: Fleiss' kappa between the templates' answers; None for a single one.
        flip_rate: the mean share of faces to which a single template gives another answer than the whole set.
        face_counts: by the names of figures, what they count per face.
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


def spread(answer: Answer, prompts: PromptSet, truth: NDArray[np.int64]) -> Spread:
    """Ask with every template and every word alone."""
    whole = answer(prompts)
    single = {template: answer(prompts.only(template=template)) for template in prompts.templates}
    scores = [float((said == truth).mean()) for said in single.values()]
    each_word = {
        LABELS[e]: {word: answer(_with_words(prompts, e, (word,))) for word in prompts.words[e]}
        for e in EMOTIONS
        if len(prompts.words[e]) > 1
    }
    face_counts = spread_counts(truth, whole, list(single.values()), {e: list(said.values()) for e, said in each_word.items()})
    return Spread(
        _accuracy(whole, truth),
        {template: _accuracy(said, truth) for template, said in single.items()},
        {emotion: {word: _accuracy(said, truth) for word, said in each.items()} for emotion, each in each_word.items()},
        float(np.mean(scores)),
        float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        min(scores),
        max(scores),
        agreement(list(single.values())),
        face_counts[_FLIPS].value,
        face_counts,
    )


_FLIPS = "answers changed by one template"


def spread_counts(
    truth: NDArray[np.int64],
    whole: NDArray[np.int64],
    templates: Sequence[NDArray[np.int64]],
    words: Mapping[str, Sequence[NDArray[np.int64]]],
) -> dict[str, FaceCounts]:
    """What the figures of a spread count per face, by their names.

    Args:
        truth: (n,) emotions.
        whole: (n,) the answers with the whole set.
        templates: (n,) the answers with each template alone.
        words: for an emotion, (n,) the answers with each of its words alone.
    """
    worst = {"accuracy of the worst template": worst_counts([said == truth for said in templates])}
    for emotion, each in words.items():
        worst[f"accuracy of the worst word for {emotion}"] = worst_counts([said == truth for said in each])
    flips = (np.stack(templates) != whole).sum(axis=0)
    return {**worst, _FLIPS: FaceCounts(flips, len(templates))}


def worst_counts(correct: Sequence[NDArray[np.bool_]]) -> FaceCounts:
    """Which faces are predicted correctly where the fewest are; the first of equals."""
    return FaceCounts(min(correct, key=lambda one: int(one.sum())).astype(np.int64), 1)


def _with_words(prompts: PromptSet, emotion: int, words: tuple[str, ...]) -> PromptSet:
    return replace(prompts, words=tuple(words if e == emotion else own for e, own in enumerate(prompts.words)))


def _accuracy(said: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    return dict(wilson(int((said == truth).sum()), len(truth)).as_json())


# -- edits that should not matter -----------------------------------------------------------------

#: What is changed in every template at once, by name; changes of case are made in the words too.
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
    """The faces whose answer changes under each of `INVARIANCES`, and when the order of templates and words is turned round."""
    whole = answer(prompts)
    changed = {name: _templates(prompts, edit) for name, edit in INVARIANCES.items()}
    turned = replace(prompts, templates=prompts.templates[::-1], words=tuple(own[::-1] for own in prompts.words))
    others = {**changed, "order of the list": turned}
    return {name: FaceCounts((answer(other) != whole).astype(np.int64), 1) for name, other in others.items()}


def _templates(prompts: PromptSet, edit: Callable[[str], str]) -> PromptSet:
    templates = tuple(dict.fromkeys(edit(template) for template in prompts.templates))
    words = tuple(tuple(map(edit, own)) for own in prompts.words) if edit in (str.upper, str.title) else prompts.words
    return replace(prompts, templates=templates, words=words)


# -- the search -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One small change of a prompt.

    Attributes:
        kind: `insert` (a filler), `synonym` (another word for one emotion), `end` (punctuation), `article`, `drop` (a word of the
            template), `case`, or `template` (another one).
        what: what is put in: text, or for `synonym` an emotion's label and the word.
        at: which word of the template, counted from 0 and around the end, for insert, drop and article.
    """

    kind: str
    what: tuple[str, ...] = ()
    at: int = 0

    def __str__(self) -> str:
        said = {"insert": "insert {0!r}", "synonym": "{1!r} for {0}", "end": "end with {0!r}", "article": "article {0!r}", "case": "{0} case"}
        return {"drop": f"drop word {self.at + 1}", "template": "template {0!r}"}.get(self.kind, said.get(self.kind, self.kind)).format(*self.what)


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
        """It as a set to ask with; None where two emotions would be called the same, or the template lost its gap."""
        if self.template.count("{}") != 1 or len({" ".join(w.lower().split()) for w in self.words}) < len(EMOTIONS):
            return None
        return PromptSet(name, (self.template,), tuple((w,) for w in self.words))


def _apply(prompt: Prompt, edit: Edit) -> Prompt:
    if edit.kind == "synonym":
        emotion, word = edit.what
        return replace(prompt, words=tuple(word if label == emotion else own for label, own in zip(LABELS, prompt.words, strict=True)))
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
        template = {"upper": template.upper(), "title": template.title(), "lower": template.lower()}[edit.what[0]]
    return replace(prompt, template=template)


def edits_of(grammar: Sequence[PromptSet]) -> st.SearchStrategy[Edit]:
    """All edits that the templates and words of some sets allow; the smallest kinds come first, for shrinking goes towards them."""
    words = list(dict.fromkeys((LABELS[e], word) for prompts in grammar for e in EMOTIONS for word in prompts.words[e]))
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
class Found:
    """What the search found.

    Attributes:
        base: the unedited prompt, the set's first template and words, and its accuracy (0..1).
        worst: the prompt with the lowest accuracy that was tried, the edits that lead to it, and its accuracy.
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
    """The prompts that were tried around one, each evaluated once: their correct answers, and the fewest edits that lead to each."""

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
        return accuracy is not None and accuracy <= self.plain - BREAK

    def explore(self, edits: st.SearchStrategy[Edit], examples: int, number: int, *, until_broken: bool) -> tuple[Edit, ...] | None:
        """Let hypothesis write lists of edits, driven towards low accuracy; with `until_broken` it stops at one that breaks the model, and
        shrinks it to the one that is given back."""

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
    kept: Path | None = None,
) -> Found:
    """Look for the prompt that the model answers worst, and for the smallest edit that breaks it.

    hypothesis writes lists of edits, is driven towards low accuracy, and shrinks what breaks the model to fewer and simpler edits: once on to
    the end, for the worst, and once until the model breaks, for the smallest.

    Args:
        prompts: its first template and first words are where the search starts.
        grammar: sets whose templates and words may be put in, beside its own.
        examples: how many prompts hypothesis may write; shrinking comes on top.
        number: the seed.
        kept: a file in which the edits that broke the model are kept (its name on disk has a checksum, see `folder`), and tried first the next
            time. (hypothesis keeps no examples of a seeded search.)
    """
    asked, edits = _Search(answer, prompts, truth), edits_of([prompts, *grammar])
    before = _kept(kept)
    asked.explore(edits, examples, number, until_broken=False)
    found = [before if before and asked.breaks(before) else None, asked.explore(edits, examples, number, until_broken=True)]
    smallest = min((broke for broke in found if broke is not None), key=len, default=None)
    if smallest is not None and kept is not None:
        content = json.dumps([asdict(edit) for edit in smallest]).encode()
        with suppress(StoreError), locked(kept.parent, _WHAT):  # a convenience: without it the next search starts from nothing
            find(kept.parent, kept.name, _parse_edits, remove_damaged=True)
            write(kept.parent, kept.name, content, _WHAT)
    return Found(
        asked.described(asked.base, ()),
        asked.described(asked.worst, asked.edits[asked.worst]),
        None if smallest is None else asked.described(asked.base.edited(smallest), smallest),
        len(asked.known),
        examples,
        number,
        FaceCounts(asked.known[asked.worst].astype(np.int64), 1),
    )


def _kept(path: Path | None) -> tuple[Edit, ...]:
    """The edits in a file that `search` wrote; none where there is no valid one."""
    return () if path is None else find(path.parent, path.name, _parse_edits) or ()


def _parse_edits(content: bytes) -> tuple[Edit, ...]:
    return tuple(Edit(str(e["kind"]), tuple(map(str, e["what"])), int(e["at"])) for e in json.loads(content))


# -- all of it, and its record --------------------------------------------------------------------

#: What the figures of a record are called in its `metrics`.
PREFIX = "prompts: "


@dataclass(frozen=True)
class Robustness:
    """Prompt sensitivity of one model on one set of faces.

    Attributes:
        edits: which answers each edit changes that should not matter (`invariances`).
        suffix: what the name of the recorded search figure says of its size (`Depth.size_suffix`).
    """

    prompts: PromptSet
    n: int
    spread: Spread
    edits: dict[str, FaceCounts] = field(compare=False)
    found: Found
    suffix: str = ""

    @property
    def invariances(self) -> dict[str, float]:
        """The share of answers that each edit changes that should not matter."""
        return {name: counts.value for name, counts in self.edits.items()}

    def figures(self) -> dict[str, FaceCounts]:
        """What is recorded: accuracies, which must not fall, and shares of changed answers, which must not rise."""
        own = {**self.spread.face_counts, f"accuracy of the worst prompt found{self.suffix}": self.found.face_counts}
        own |= {f"answers changed by {name}": counts for name, counts in self.edits.items()}
        return {f"{PREFIX}{name}": counts for name, counts in own.items()}

    def as_json(self) -> dict[str, Any]:
        """For evals.json."""
        return {
            "n": self.n,
            "set": {"name": self.prompts.name, **self.prompts.as_json()},
            "spread": self.spread.as_json(),
            "invariances": self.invariances,
            "search": self.found.as_json(),
        }


def robustness(
    answer: Answer,
    prompts: PromptSet,
    truth: NDArray[np.int64],
    *,
    grammar: Sequence[PromptSet] = (),
    examples: int = 200,
    suffix: str = "",
    kept: Path | None = None,
) -> Robustness:
    """Measure all of it; arguments as in `spread`, `search` and `Robustness`."""
    return Robustness(
        prompts,
        len(truth),
        spread(answer, prompts, truth),
        invariances(answer, prompts),
        search(answer, prompts, truth, grammar=grammar, examples=examples, kept=kept),
        suffix,
    )
