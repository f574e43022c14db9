"""Parser of model responses: one emotion, or the reason why there is none. Nothing is guessed.

The complete response may be a name or an option's letter. Otherwise every emotion named in it counts, except
those that are negated ("not happy but sad") or named in a clause that refuses ("I cannot tell whether she is
sad"). If exactly one is left, it is the prediction; otherwise the status is the reason.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from fer_models.emotions import EMOTIONS, LABELS, Emotion

#: The statuses of a response without a prediction.
REFUSED, AMBIGUOUS, NAMELESS, EMPTY = "refused", "ambiguous", "no emotion named", "empty"
#: How a prediction was parsed.
EXACT, LETTER, WORD, SYNONYM = "exact", "letter", "word", "synonym"
#: Of a longer response, only its beginning and its end are parsed: the answer is not in between.
MAX_CHARACTERS = 4000

_SYNONYMS: dict[Emotion, str] = {
    Emotion.ANGRY: "anger angered angrily furious fury mad rage enraged irritated irritation annoyed"
    " annoyance hostile",
    Emotion.DISGUST: "disgusted disgusting revulsion revolted repulsed aversion",
    Emotion.FEAR: "fearful afraid scared frightened terrified fright terror anxious anxiety horrified",
    Emotion.HAPPY: "happiness happily joy joyful smiling cheerful glad delighted joyous amused laughing",
    Emotion.SAD: "sadness sadly unhappy sorrow sorrowful depressed crying grief gloomy melancholy tearful",
    Emotion.SURPRISE: "surprised surprising shocked shock astonished astonishment amazed startled amazement",
    Emotion.NEUTRAL: "neutrality neutrally emotionless expressionless unemotional impassive indifferent",
}
_EMOTION_OF_WORD = {word: emotion for emotion, words in _SYNONYMS.items() for word in words.split()} | {
    e.label: e for e in EMOTIONS
}
_EMOTION_WORD = re.compile(
    rf"\b({'|'.join(sorted(map(re.escape, _EMOTION_OF_WORD), key=len, reverse=True))})\b"
)
#: "no clear emotion", "no particular facial expression": other words for a neutral face. Not "no other
#: emotion", "no expression of joy", "no emotion besides anger".
_NO_EMOTION = re.compile(
    r"\b(?:no|without(?: any)?|lacks?(?: any)?) (?:(?!other\b)\w+ ){0,2}?(?:emotion|expression)s?\b"
    r"(?! of (?!(?:any )?emotions?\b))(?! (?:other than|besides|except)\b)"
)

#: The keys of a JSON object that hold the answer.
_JSON_KEYS = ("emotion", "answer", "label", "expression")
_SENTENCES = re.compile(r"[.;!?\n]+")
#: Where a negation or refusal ends within a sentence.
_CLAUSE_ENDS = re.compile(
    r"\b(?:but|however|instead(?! of)|rather(?! than)|although|though|yet|nevertheless|whereas)\b"
    r"|,\s*(?=(?:it|this|that|he|she|they|the|i would|i'd|more|most|so|my)\b)|[:\u2014]|\s-\s"
)
_NEGATION = re.compile(
    r"\b(?:not|no|none|never|neither|nor|cannot|without|isn't|aren't|doesn't|don't|didn't|wasn't|hardly"
    r"|rather than|instead of|as opposed to|unlike)\b"
)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|as an ai|unable to|not able to|can(?:no|')t|can not|won't|will not"
    r"|do(?: not|n't) feel comfortable|not comfortable|not possible to|impossible to"
    r"|(?:hard|difficult) to (?:say|tell|determine|know)|unclear (?:whether|if|what|which)"
    r"|(?:say|tell|determine|sure|know) (?:whether|if)"
    r"|no (?:visible |human |clear )?face|against my|not appropriate|decline)\b"
)
_CONCLUSION = re.compile(
    r"\b(?:answer|emotion|conclusion|prediction|classification|label|category|expression)\b"
    r"(?: (?:is|would be|shown is))?\s*[:=]?\s*\W{0,4}$"
)
_LETTER_ALONE = re.compile(
    r"^\W*(?:(?:the )?(?:correct |final |best )?(?:answer|option|choice)(?: is)?\W*)?([a-z])\W*$"
)
_LETTER_FIRST = re.compile(
    r"^\W*(?:(?:the )?(?:correct |final |best )?(?:answer|option|choice)(?: is)?\W*)?\(?([a-z])[).:]\s"
)
#: A letter of an option within a text: "b)", "(b)", "b.", and at the end "or b", not "and a smile".
_OPTION_LETTER = re.compile(r"(?:^|(?<=[\s(]))([a-z])[).:](?=\s|$)|\b(?:or|and) ([a-z])(?=[,;]|\s*$)")


@dataclass(frozen=True)
class ParsedResponse:
    """Prediction parsed from a response.

    Attributes:
        emotion: the predicted one; None where there is no prediction.
        status: `ok`, or the reason: `refused`, `ambiguous`, `no emotion named`, `empty`.
        match_type: `exact`, `letter`, `word` or `synonym`; empty without a prediction.
    """

    emotion: Emotion | None
    status: str
    match_type: str = ""


def parse_response(reply: str, options: Sequence[Emotion] = ()) -> ParsedResponse:
    """Parse one response.

    Args:
        reply: the generated text.
        options: the emotions of the letters A, B, C, … in a multiple-choice question, in order.
    """
    text = _normalize(reply)
    if not re.search(r"\w", text):
        return ParsedResponse(None, EMPTY)
    bare = re.sub(r"^\W+|\W+$", "", text)
    if bare in _EMOTION_OF_WORD:
        return _whole_match(bare)
    letter = _match_letter(text, options)
    named = _named_emotions(text)
    if letter is not None:
        return _letter_match(text, letter, named, options)
    if len(named) == 1:
        (word,) = [w for w in _mentions(text) if _EMOTION_OF_WORD[w] is named[0]][:1]
        return ParsedResponse(named[0], "ok", WORD if word in LABELS else SYNONYM)
    if named:
        return ParsedResponse(None, AMBIGUOUS)
    return ParsedResponse(None, REFUSED if _REFUSAL.search(text) else NAMELESS)


def _normalize(reply: str) -> str:
    """Normalized text: lower case, plain apostrophes, no markup; the two ends of a very long response."""
    if len(reply) > MAX_CHARACTERS:
        reply = f"{reply[: MAX_CHARACTERS // 2]}\n{reply[-MAX_CHARACTERS // 2 :]}"
    text = unicodedata.normalize("NFKC", reply).replace("\u2019", "'").lower()
    return _json_answer(text) or re.sub(r"[*_`#>\"]+", " ", text).replace("  ", " ").strip()


def _json_answer(text: str) -> str:
    """The emotion in a JSON object within the text; empty without one."""
    inside = re.search(r"\{[^{}]*\}", text)
    try:
        fields = json.loads(inside[0]) if inside else {}
    except (ValueError, RecursionError):
        return ""
    values = (value for key, value in fields.items() if key in _JSON_KEYS and isinstance(value, str))
    return next(values, "")


def _match_letter(text: str, options: Sequence[Emotion]) -> Emotion | None:
    match = _LETTER_ALONE.match(text) or _LETTER_FIRST.match(text + " ")
    index = ord(match[1]) - ord("a") if match and options else -1
    return options[index] if 0 <= index < len(options) else None


def _letter_match(
    text: str, letter: Emotion, named: Sequence[Emotion], options: Sequence[Emotion]
) -> ParsedResponse:
    """The option of the first letter, unless the rest names another one, or takes it back."""
    found = [first or second for first, second in _OPTION_LETTER.findall(text)]
    letters = {options[i] for i in (ord(each) - ord("a") for each in found) if i < len(options)}
    if letters - {letter} or named not in ([], [letter]):
        return ParsedResponse(None, AMBIGUOUS)
    if not named and _REFUSAL.search(text):
        return ParsedResponse(None, REFUSED)
    if not named and _NEGATION.search(text):
        return ParsedResponse(None, AMBIGUOUS)
    return ParsedResponse(letter, "ok", LETTER)


def _named_emotions(text: str) -> list[Emotion]:
    """The emotions that the text names; only the last where it concludes with one ("Answer: sad")."""
    mentions = _mentions(text)
    emotions = list(dict.fromkeys(_EMOTION_OF_WORD[word] for word in mentions))
    if len(emotions) > 1:
        concluded = [
            _EMOTION_OF_WORD[m[0]]
            for m in _EMOTION_WORD.finditer(text)
            if _CONCLUSION.search(text[: m.start()])
        ]
        if len(set(concluded)) == 1 and concluded[0] in emotions:
            return concluded[:1]
    return emotions


def _mentions(text: str) -> list[str]:
    """Emotion words that are neither negated nor part of a refusal, in order."""
    words = []
    for sentence in _SENTENCES.split(text):
        for part in _CLAUSE_ENDS.split(sentence):
            if _REFUSAL.search(part):
                continue
            negation = _NEGATION.search(part)
            end = len(part) if negation is None else negation.start()
            named = [match[0] for match in _EMOTION_WORD.finditer(part) if match.start() < end]
            if not named and _NO_EMOTION.search(part):
                named = ["expressionless"]
            words += named
    return words


def _whole_match(word: str) -> ParsedResponse:
    return ParsedResponse(_EMOTION_OF_WORD[word], "ok", EXACT if word in LABELS else SYNONYM)
