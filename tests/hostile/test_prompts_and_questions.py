"""Files of prompts and of baselines, and names of questions, that hold or are anything: a sentence, at
once.
"""

import json
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import guards
import pytest
from guards import no_hang
from hypothesis import given
from hypothesis import strategies as st

from fer_models.artifacts.json_io import parse_json
from fer_models.classifiers import prompts
from fer_models.classifiers.vlm import questions
from fer_models.emotions import LABELS
from fer_models.errors import BaselinesError, UnknownNameError, UsageError
from fer_models.gate import baselines

WORDS = {label: [label] for label in LABELS}
SOUND = {"templates": ["a photo of a {} face."], "emotions": WORDS}

assert_sentence = partial(guards.assert_sentence, longest=2000)


def changed(**fields):
    return json.dumps(SOUND | fields)


def words(**fields):
    return changed(emotions=WORDS | fields)


DEEP = 100_000
#: Contents of a JSON file that are not JSON.
NO_JSON: dict[str, Any] = {
    "nothing": "",
    "blanks": " \n ",
    "a word": "templates",
    "cut": '{"templates": [',
    "single quotes": "{'templates': []}",
    "a comma too many": '{"templates": [],}',
    "two objects": "{}{}",
    "a comment": "{} // nothing",
    "NaN": "NaN",
    "NaN inside": '{"templates": NaN}',
    "infinity inside": '{"templates": -Infinity}',
    "deep lists": "[" * DEEP,
    "deep closed lists": "[" * DEEP + "]" * DEEP,
    "deep objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "an integer of 5,000 digits": "1" * 5000,
    "an integer of 5,000 digits inside": '{"schema": ' + "1" * 5000 + "}",
    "a float that is infinite": '{"schema": 2e999}',
    "a key twice": '{"templates": [], "templates": ["{}"]}',
    "a key twice inside": '{"emotions": {"happy": ["a"], "happy": ["b"]}}',
    "not UTF-8": b"\xff\xfe{}",
    "UTF-16": "{}".encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "zeros": b"\x00" * 1000,
    "a zip": b"PK\x03\x04" + b"\x00" * 100,
    "control characters in a text": '{"a": "\x01"}',
}
#: JSON that is no prompt set.
NO_SET = {
    "null": "null",
    "true": "true",
    "a number": "3",
    "a text": '"templates"',
    "a list": "[]",
    "a list of pairs": '[["templates", []], ["emotions", {}]]',
    "an empty object": "{}",
    "templates alone": '{"templates": ["{}"]}',
    "emotions alone": json.dumps({"emotions": WORDS}),
    **{
        f"templates {value}": changed(templates=value)
        for value in (None, 3, "a {} face", {}, [], [None], [3], [[]], [{}], [True], ["{}", 3], {"{}": 1})
    },
    **{
        f"emotions {value}": changed(emotions=value)
        for value in (None, 3, "angry", [], list(LABELS), {}, {"happy": ["happy"]})
    },
    **{
        f"happy {value}": words(happy=value)
        for value in (None, 3, [], "", [""], [" "], [None], [3], [["happy"]], {"a": 1}, True, ["happy", 1])
    },
    **{f"source {value}": changed(source=value) for value in (None, 3, [], {})},
    "an emotion missing": changed(emotions={label: [label] for label in LABELS[1:]}),
    "an eighth emotion": words(contempt=["contempt"]),
    "an emotion in capitals": changed(emotions={label.upper(): [label] for label in LABELS}),
    "an unknown entry": changed(colour="red"),
    "an unknown entry with terminal commands": changed(**{"\x1b[2J": 1}),
    "an unknown entry of 10,000 characters": changed(**{"x" * 10_000: 1}),
    "an emotion of 10,000 characters": words(**{"x" * 10_000: ["x"]}),
    "a template without a gap": changed(templates=["a face"]),
    "a template with two gaps": changed(templates=["{} {}"]),
    "a template with a named gap": changed(templates=["{emotion}"]),
    "a template of 301 characters": changed(templates=["{}" + "x" * 299]),
    "a template of 100,000 characters": changed(templates=["{}" + "x" * 99_998]),
    "a template twice": changed(templates=["{}", "{}"]),
    "a word with a gap": words(happy=["{}"]),
    "a word twice": words(happy=["happy", "happy"]),
    "a word twice but for case and blanks": words(happy=["Happy  face", "happy face"]),
    "a word of two emotions": words(happy=["angry"]),
    "half a character in a word": words(happy=["\ud83d"]),
    "half a character in a template": changed(templates=["\udc00 {}"]),
    "a word that is not printable and twice": words(happy=["\x1b", "\x1b"]),
    "more sentences than any model needs": changed(templates=[f"{i} {{}}" for i in range(5000)]),
    "more words than any model needs": words(happy=[f"happy {i}" for i in range(20_000)]),
    "larger than any set": json.dumps(SOUND) + " " * 1_000_001,
}


@pytest.mark.parametrize("name", [*NO_JSON, *NO_SET])
def test_an_invalid_prompt_set_is_refused_in_a_sentence(name, tmp_path):
    path, content = tmp_path / "mine.json", (NO_JSON | NO_SET)[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    before = path.read_bytes()
    with no_hang(), pytest.raises(UsageError) as caught:
        prompts.load(str(path))
    assert_sentence(caught.value)
    assert "mine" in str(caught.value)
    assert path.read_bytes() == before


def special_files(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "pipe")
    (folder / "folder.json").mkdir()
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "to a pipe").symlink_to(folder / "pipe")
    paths = {
        name: folder / name for name in ("pipe", "folder.json", "dangling", "circle", "to a pipe", "nothing")
    }
    return paths | {
        "zero": Path("/dev/zero"),
        "null": Path("/dev/null"),
        "random": Path("/dev/urandom"),
        "long": folder / ("x" * 5000),
    }


SPECIAL = (
    "pipe",
    "folder.json",
    "dangling",
    "circle",
    "to a pipe",
    "nothing",
    "zero",
    "null",
    "random",
    "long",
)


@pytest.mark.parametrize("name", SPECIAL)
def test_an_invalid_file_of_prompts_is_refused_without_delay(name, tmp_path):
    with no_hang(), pytest.raises(UsageError) as caught:
        prompts.load(str(special_files(tmp_path)[name]))
    assert_sentence(caught.value)


NAMES = [
    "",
    " ",
    ".",
    "..",
    "/",
    "opnai",
    "OPENAI",
    "openai.json",
    "x" * 100_000,
    "\x00",
    "\ud83d",
    "\n",
    "\x1b[2J",
    "{}",
    "../prompts/openai",
    "~nobodyhere",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_an_unknown_name_of_prompts_is_a_sentence(name):
    with no_hang(), pytest.raises(UnknownNameError) as caught:
        prompts.load(name)
    assert_sentence(caught.value)


@pytest.mark.parametrize("name", [*NAMES, *SPECIAL, "/dev/zero", "one_word", "question.json"], ids=ascii)
def test_an_unknown_name_of_a_question_is_a_sentence_and_no_file_is_opened(name, tmp_path):
    given = str(special_files(tmp_path)[name]) if name in SPECIAL else name
    with no_hang(), pytest.raises(UnknownNameError) as caught:
        questions.load(given)
    assert_sentence(caught.value)


@pytest.mark.parametrize("name", NO_JSON)
def test_baselines_that_are_no_json_are_refused_and_stay(name, tmp_path):
    path, content = tmp_path / "baselines.json", NO_JSON[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    with no_hang(), pytest.raises(BaselinesError) as caught:
        baselines.read(path)
    assert_sentence(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["pipe", "folder.json", "to a pipe", "zero", "random"])
def test_an_invalid_file_of_baselines_is_refused_without_delay(name, tmp_path):
    with no_hang(), pytest.raises(BaselinesError) as caught:
        baselines.read(special_files(tmp_path)[name])
    assert_sentence(caught.value)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_json_of_any_kind_is_read_as_the_library_reads_it(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.slow
@given(_VALUES)
def test_any_json_is_a_set_of_prompts_or_a_sentence(value):
    try:
        prompts.parse(value, "mine")
    except UsageError as error:
        assert_sentence(error)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from([*LABELS, "templates", "x"]), _VALUES, max_size=7),
    st.lists(_VALUES, max_size=3),
)
def test_any_words_and_templates_are_a_set_of_prompts_or_a_sentence(emotions, templates):
    try:
        prompts.parse({"templates": templates, "emotions": emotions}, "mine")
    except UsageError as error:
        assert_sentence(error)


@given(st.text(max_size=40))
def test_any_text_is_json_or_a_value_error(text):
    with suppress(ValueError):
        parse_json(text)
