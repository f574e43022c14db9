"""What replies mean: every emotion through every wording, and a table of replies as models write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_models.classifiers.vlm.response_parser import AMBIGUOUS, EMPTY, NAMELESS, REFUSED, parse_response
from fer_models.emotions import EMOTIONS, Emotion

TEMPLATES = (
    "{}",
    "{}.",
    "Answer: {}",
    "The answer is {}.",
    "**{}**",
    "The person in the image looks {}.",
    "The facial expression is {}",
    "I would say: {}!",
    "Emotion: {}\n",
    "This face shows {}.",
    '{{"emotion": "{}"}}',
    "Based on the raised brows and the open mouth, the most likely emotion is {}.",
    "  {}  \n\n",
    "It seems to be {} .",
    "I'm sorry, but my best guess is {}.",
    "I can't be entirely sure, but the person appears {}.",
)
EDGES = ("", ".", "!", "?", "...", " ", "\n")


@settings(deadline=None)
@given(
    st.sampled_from(EMOTIONS),
    st.sampled_from(TEMPLATES),
    st.sampled_from([str.lower, str.upper, str.title, str]),
    st.sampled_from(EDGES),
)
def test_every_emotion_comes_back_from_every_template_case_and_punctuation(emotion, template, case, edge):
    response = parse_response(template.format(case(emotion.label)) + edge)
    assert (response.emotion, response.status) == (emotion, "ok")


@settings(deadline=None)
@given(
    st.permutations(EMOTIONS),
    st.integers(0, 6),
    st.sampled_from(["{}", "({})", "{}.", "{})", "Answer: {}", "The answer is ({}).", "option {}"]),
)
def test_a_letter_means_the_option_that_was_listed_there(options, index, template):
    letter = "ABCDEFG"[index]
    for spoken in (letter, letter.lower()):
        response = parse_response(template.format(spoken), options)
        assert (response.emotion, response.status, response.match_type) == (options[index], "ok", "letter")


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text):
    response = parse_response(text, EMOTIONS)
    assert (response.emotion is not None) == (response.status == "ok") == bool(response.match_type)


E = Emotion
REPLIES = [
    ("happy", E.HAPPY),
    ("Happy", E.HAPPY),
    (" Surprise\n", E.SURPRISE),
    ("anger", E.ANGRY),
    ("The person is smiling.", E.HAPPY),
    ("fearful", E.FEAR),
    ("She looks disgusted.", E.DISGUST),
    ("He appears to be in a neutral state.", E.NEUTRAL),
    ("Sadness", E.SAD),
    ("The emotion is: **fear**", E.FEAR),
    ("B", E.DISGUST),
    ("(D)", E.HAPPY),
    ("C. fear", E.FEAR),
    ("g) Neutral", E.NEUTRAL),
    ("Answer: E", E.SAD),
    ("The correct answer is (A) angry.", E.ANGRY),
    ("C. happy", AMBIGUOUS),
    ("not happy but sad", E.SAD),
    ("The person is not happy, but rather sad.", E.SAD),
    ("It is not anger; it is fear.", E.FEAR),
    ("It's not sadness, it's anger.", E.ANGRY),
    ("He does not look angry, sad or afraid, but surprised.", E.SURPRISE),
    ("sad rather than angry", E.SAD),
    ("Instead of happy I would say neutral.", NAMELESS),
    ("neither happy nor sad", NAMELESS),
    ("This isn't a happy face.", NAMELESS),
    ("unhappy", E.SAD),
    ("The face shows no emotion.", E.NEUTRAL),
    ("There is no particular facial expression visible.", E.NEUTRAL),
    ("expressionless", E.NEUTRAL),
    ("happy or surprised", AMBIGUOUS),
    ("A mix of fear and surprise.", AMBIGUOUS),
    ("It could be sad, it could be angry.", AMBIGUOUS),
    ("Mostly sad with a hint of fear", AMBIGUOUS),
    ("angry, disgust, fear, happy, sad, surprise, neutral", AMBIGUOUS),
    ("The eyes suggest fear and the mouth surprise. Final answer: fear", E.FEAR),
    ("Looking at the brows I first thought of anger. Emotion: disgust", E.DISGUST),
    ("I'm sorry, but I can't help with that.", REFUSED),
    ("I cannot determine whether the person is happy or sad.", REFUSED),
    ("As an AI language model I am unable to identify emotions.", REFUSED),
    ("I apologize, I can not analyze faces of real people.", REFUSED),
    ("There is no face in this image.", REFUSED),
    ("It is not possible to tell from this picture.", REFUSED),
    ("I\u2019m not able to say if she is angry.", REFUSED),
    ("I'm sorry, but the person looks sad.", E.SAD),
    ("I can't be sure, but he seems afraid.", E.FEAR),
    ("", EMPTY),
    ("   \n\t", EMPTY),
    ("...", EMPTY),
    ("\U0001f600", EMPTY),
    ("The picture shows a man with a beard.", NAMELESS),
    ("feliz", NAMELESS),
    ("La persona est\u00e1 triste.", NAMELESS),
    ("\u9ad8\u5174", NAMELESS),
    ("Die Person wirkt w\u00fctend.", NAMELESS),
    ("contempt", NAMELESS),
    ("48x48 pixels", NAMELESS),
    ('{"emotion": "sad", "confidence": 0.9}', E.SAD),
    ('```json\n{"answer": "Happy"}\n```', E.HAPPY),
    ("x" * 10_000, NAMELESS),
    ("The lighting is poor. " * 500 + "The answer is sad.", E.SAD),
    ("happiness", E.HAPPY),
    ("A happy face", E.HAPPY),
    ("I am sad to say that I cannot answer this.", REFUSED),
    ("The man is angry, no other emotion is visible.", E.ANGRY),
    ("Sad, with no visible expression of joy", E.SAD),
    ("happy, no other emotion", E.HAPPY),
    ("Angry. There is no other emotion.", E.ANGRY),
    ("She shows no strong emotion other than anger", NAMELESS),
    ("There is no expression of joy.", NAMELESS),
    ("There is no expression of any emotion.", E.NEUTRAL),
    ("B) or C)", AMBIGUOUS),
    ("(b) and (c)", AMBIGUOUS),
    ("A) or B", AMBIGUOUS),
    ("B. and D. both fit", AMBIGUOUS),
    ("A.\nB.\nC.", AMBIGUOUS),
    ("A. None of these", AMBIGUOUS),
    ("A) I'm sorry, I can't tell.", REFUSED),
    ("D) Wide eyes, and a smile", E.HAPPY),
    ("A) Angry. The person does not smile. Answer: A.", E.ANGRY),
    ("It is hard to tell whether she is happy.", REFUSED),
    ("It's unclear whether this person is happy", REFUSED),
    ("It is difficult to say if the man is sad", REFUSED),
    ("The picture is too blurry to determine whether she is sad", REFUSED),
    ("It is hard to tell, but he looks angry.", E.ANGRY),
]


@pytest.mark.parametrize(("reply", "meant"), REPLIES, ids=[repr(r[:40]) for r, _ in REPLIES])
def test_replies_are_parsed_as_they_are_meant(reply, meant):
    response = parse_response(reply, EMOTIONS)
    assert (response.emotion, response.status) == ((None, meant) if isinstance(meant, str) else (meant, "ok"))


def test_a_reply_of_very_deep_json_has_no_emotion():
    assert parse_response('{"reply": ' + "[" * 5000 + "}", EMOTIONS).emotion is None
