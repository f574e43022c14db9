"""What a model that writes has said: one emotion, or why none can be read from it. Nothing is guessed.

A reply is read as a person would read it in a hurry: the whole of it may be a name or an option's letter;
otherwise every emotion named in it counts, but for those that are denied ("not happy but sad"), or named in a
sentence that refuses ("I cannot tell whether she is sad"). One left: that is the answer. None or several
left: there is no answer, and the status says which.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fer_models.emotions import EMOTIONS, LABELS, Emotion

#: The statuses of a reply without an answer, with what they mean.
REFUSED, AMBIGUOUS, NAMELESS, EMPTY = "refused", "ambiguous", "no emotion named", "empty"
#: How an answer was read.
EXACT, LETTER, WORD, SYNONYM = "exact", "letter", "word", "synonym"
#: Of a longer reply, its beginning and its end are read: what is said in between is not where an answer
#: stands.
LONGEST = 4000

_OTHER_WORDS: dict[Emotion, str] = {
    Emotion.ANGRY: "anger angered angrily furious fury mad rage enraged irritated irritation annoyed annoyance hostile",
    Emotion.DISGUST: "disgusted disgusting revulsion revolted repulsed aversion",
    Emotion.FEAR: "fearful afraid scared frightened terrified fright terror anxious anxiety horrified",
    Emotion.HAPPY: "happiness happily joy joyful smiling cheerful glad delighted joyous amused laughing",
    Emotion.SAD: "sadness sadly unhappy sorrow sorrowful depressed crying grief gloomy melancholy tearful",
    Emotion.SURPRISE: "surprised surprising shocked shock astonished astonishment amazed startled amazement",
    Emotion.NEUTRAL: "neutrality neutrally emotionless expressionless unemotional impassive indifferent",
}
_MEANING = {word: emotion for emotion, words in _OTHER_WORDS.items() for word in words.split()} | {
    e.label: e for e in EMOTIONS
}
_NAMED = re.compile(rf"\b({'|'.join(sorted(map(re.escape, _MEANING), key=len, reverse=True))})\b")
#: "no clear emotion", "no particular facial expression": a neutral face, said with other words.
_NO_EMOTION = re.compile(r"\b(?:no|without(?: any)?|lacks?(?: any)?) (?:\w+ ){0,2}?(emotion|expression)s?\b")

_SENTENCES = re.compile(r"[.;!?\n]+")
#: Where what was denied or refused ends within a sentence.
_TURNS = re.compile(
    r"\b(?:but|however|instead(?! of)|rather(?! than)|although|though|yet|nevertheless|whereas)\b"
    r"|,\s*(?=(?:it|this|that|he|she|they|the|i would|i'd|more|most|so|my)\b)|[:\u2014]|\s-\s"
)
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|without|isn't|aren't|doesn't|don't|didn't|wasn't|hardly|rather than|instead of|as opposed to|unlike)\b"
)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|as an ai|unable to|not able to|can(?:no|')t|can not|won't|will not|do(?: not|n't) feel comfortable|not comfortable"
    r"|not possible to|impossible to|no (?:visible |human |clear )?face|against my|not appropriate|decline)\b"
)
_CONCLUDES = re.compile(
    r"\b(?:answer|emotion|conclusion|prediction|classification|label|category|expression)\b(?: (?:is|would be|shown is))?\s*[:=]?\s*\W{0,4}$"
)
_LETTER_ALONE = re.compile(
    r"^\W*(?:(?:the )?(?:correct |final |best )?(?:answer|option|choice)(?: is)?\W*)?([a-z])\W*$"
)
_LETTER_FIRST = re.compile(
    r"^\W*(?:(?:the )?(?:correct |final |best )?(?:answer|option|choice)(?: is)?\W*)?\(?([a-z])[).:]\s"
)


@dataclass(frozen=True)
class ParsedResponse:
    """What a reply says.

    Attributes:
        emotion: the one it names; None where there is no answer.
        status: `ok`, or why there is no answer: `refused`, `ambiguous`, `no emotion named`, `empty`.
        how: how the answer was read: `exact`, `letter`, `word` or `synonym`; empty without one.
    """

    emotion: Emotion | None
    status: str
    match_type: str = ""


def parse_response(reply: str, options: Sequence[Emotion] = ()) -> ParsedResponse:
    """Read one reply.

    Args:
        reply: what the model wrote.
        options: the emotions in the order in which they were listed as A, B, C, …, if they were.
    """
    text = _plain(reply)
    if not re.search(r"\w", text):
        return ParsedResponse(None, EMPTY)
    bare = re.sub(r"^\W+|\W+$", "", text)
    if bare in _MEANING:
        return _found(bare)
    letter = _letter(text, options)
    named = _named(text)
    if letter is not None:
        return (
            ParsedResponse(letter, "ok", LETTER)
            if named in ([], [letter]) or len(text) < 3
            else ParsedResponse(None, AMBIGUOUS)
        )
    if len(named) == 1:
        (word,) = [w for w in _mentions(text) if _MEANING[w] is named[0]][:1]
        return ParsedResponse(named[0], "ok", WORD if word in LABELS else SYNONYM)
    if named:
        return ParsedResponse(None, AMBIGUOUS)
    return ParsedResponse(None, REFUSED if _REFUSAL.search(text) else NAMELESS)


def _plain(reply: str) -> str:
    """Lower case, plain apostrophes, no markup; of a very long reply its two ends."""
    if len(reply) > LONGEST:
        reply = f"{reply[: LONGEST // 2]}\n{reply[-LONGEST // 2 :]}"
    text = unicodedata.normalize("NFKC", reply).replace("\u2019", "'").lower()
    return _of_json(text) or re.sub(r"[*_`#>\"]+", " ", text).replace("  ", " ").strip()


def _of_json(text: str) -> str:
    """The answer in a JSON object, as models that were asked for one write it; nothing elsewhere."""
    inside = re.search(r"\{[^{}]*\}", text)
    try:
        said = json.loads(inside[0]) if inside else {}
    except ValueError:
        return ""
    return next(
        (
            v
            for k, v in said.items()
            if k in ("emotion", "answer", "label", "expression") and isinstance(v, str)
        ),
        "",
    )


def _letter(text: str, options: Sequence[Emotion]) -> Emotion | None:
    found = _LETTER_ALONE.match(text) or _LETTER_FIRST.match(text + " ")
    index = ord(found[1]) - ord("a") if found and options else -1
    return options[index] if 0 <= index < len(options) else None


def _named(text: str) -> list[Emotion]:
    """The emotions that the text stands by; one alone where it concludes with one ("Answer: sad")."""
    mentions = _mentions(text)
    emotions = list(dict.fromkeys(_MEANING[word] for word in mentions))
    if len(emotions) > 1:
        concluded = [_MEANING[m[0]] for m in _NAMED.finditer(text) if _CONCLUDES.search(text[: m.start()])]
        if len(set(concluded)) == 1 and concluded[0] in emotions:
            return concluded[:1]
    return emotions


def _mentions(text: str) -> list[str]:
    """The words for emotions that are neither denied nor part of a refusal, in order."""
    kept = []
    for sentence in _SENTENCES.split(text):
        for part in _TURNS.split(sentence):
            neutral = _NO_EMOTION.search(part)
            if neutral and not _REFUSAL.search(part):
                kept.append("expressionless")
                continue
            if _REFUSAL.search(part):
                continue
            denied = _DENIED.search(part)
            kept += [m[0] for m in _NAMED.finditer(part) if denied is None or m.start() < denied.start()]
    return kept


def _found(word: str) -> ParsedResponse:
    return ParsedResponse(_MEANING[word], "ok", EXACT if word in LABELS else SYNONYM)
