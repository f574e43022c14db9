import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.classifiers import prompts
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import LABELS
from fer_models.errors import UnknownNameError, UsageError

WORDS = {label: [label] for label in LABELS}


def written(tmp_path, templates=("a {} face",), emotions=WORDS, **more):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"templates": templates, "emotions": emotions, **more}))
    return str(path)


def test_the_prompts_of_openai_and_clip_benchmark_come_with_the_package():
    openai, benchmark = prompts.load("openai"), prompts.load("clip-benchmark")
    assert openai.templates == benchmark.templates
    assert len(openai.templates) == 6
    assert [len(words) for words in openai.words] == [1, 1, 1, 2, 2, 3, 2]
    assert openai.words[5] == ("surprised", "shocked", "spooked")
    assert [w for one in benchmark.words for w in one] == [
        "angry",
        "disgusted",
        "fearful",
        "happy",
        "sad",
        "surprised",
        "neutral",
    ]


@pytest.mark.parametrize("name", prompts.names())
def test_every_set_of_the_package_is_valid_and_has_a_source(name):
    prompt_set = prompts.load(name)
    assert prompt_set.source
    assert prompt_set.name == name
    assert all(
        len(set(prompt_set.texts(e))) == len(prompt_set.templates) * len(prompt_set.words[e])
        for e in range(7)
    )


def test_held_out_prompts_are_not_in_the_captions():
    captions, unseen = prompts.load("captions"), prompts.load("unseen")
    assert not set(captions.templates) & set(unseen.templates)
    assert not {w for one in captions.words for w in one} & {w for one in unseen.words for w in one}


def test_a_set_is_read_as_it_is_written(tmp_path):
    prompt_set = prompts.load(written(tmp_path, source="me"))
    assert prompt_set == PromptSet("mine", ("a {} face",), tuple((label,) for label in LABELS), "me")
    (tmp_path / "mine.json").write_text(json.dumps(prompt_set.as_json()))
    assert prompts.load(str(tmp_path / "mine.json")) == prompt_set


def test_one_word_needs_no_brackets(tmp_path):
    assert prompts.load(written(tmp_path, emotions={label: label for label in LABELS})).words == tuple(
        (label,) for label in LABELS
    )


def test_every_template_is_filled_with_every_word():
    prompt_set = PromptSet("x", ("a {} face", "{}!"), (("angry", "mad"), *((label,) for label in LABELS[1:])))
    assert prompt_set.texts(0) == ["a angry face", "angry!", "a mad face", "mad!"]
    assert prompt_set.only(template="{}!").texts(0) == ["angry!", "mad!"]
    assert prompt_set.only(words=[f"w{i}" for i in range(7)]).texts(3) == ["a w3 face", "w3!"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": ["a face"]}, "has 0 gaps; write {} once"),
        ({"templates": ["{} and {}"]}, "has 2 gaps"),
        ({"templates": []}, "no template"),
        ({"templates": ["a {} face", "a {} face"]}, "'a {} face' 2 times"),
        ({"templates": ["x" * 10_000 + "{}"]}, "10,002 characters; 300 are allowed"),
        ({"templates": [""]}, "is empty"),
        ({"templates": [3]}, "holds 3 where a text is needed"),
        ({"templates": "a {} face"}, "templates is a list"),
        ({"emotions": {k: v for k, v in WORDS.items() if k != "fear"}}, "no words for fear"),
        ({"emotions": {**WORDS, "fear": []}}, "no words for fear"),
        ({"emotions": {**WORDS, "joy": ["joy"]}}, "words for 'joy'"),
        ({"emotions": {**WORDS, "fear": ["Angry"]}}, "'angry' 2 times"),
        ({"emotions": {**WORDS, "fear": ["a {}"]}}, "only templates have gaps"),
        ({"emotions": {**WORDS, "fear": ["y" * 10_000]}}, "10,000 characters"),
        ({"emotions": []}, "emotions an object"),
        ({"template": ["a {} face"]}, "unknown entries: template"),
    ],
)
def test_an_invalid_prompt_file_is_refused_in_one_short_line(tmp_path, change, message):
    with pytest.raises(UsageError) as caught:
        prompts.load(written(tmp_path, **{"templates": ["a {} face"], "emotions": WORDS, **change}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"emotions": {}}', '{"templates": ["{}"]}'])
def test_a_file_that_is_no_prompt_set_is_refused_with_an_example(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="It looks like"):
        prompts.load(str(path))


def test_an_unknown_set_is_suggested_a_known_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'openai'"):
        prompts.load("opnai")


@given(
    st.lists(
        st.text(min_size=1, max_size=12).filter(lambda t: t.strip() and "{}" not in t and len(t) <= 12),
        min_size=7,
        max_size=7,
    )
)
def test_any_seven_different_words_make_a_set(words):
    if len({" ".join(w.lower().split()) for w in words}) == 7:
        prompt_set = PromptSet("x", ("{}",), tuple((w,) for w in words))
        assert [prompt_set.texts(e) for e in range(7)] == [[w] for w in words]
