"""Updates of an existing model card."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cards import ONE, OTHER, data_of, values_of

from fer_models.report.card import CardError, new_card, updated_card
from fer_models.report.card_edit import END, START

RESULT = "- task: {type: other}\n      dataset: {type: d, name: D}\n      metrics: [{type: m, value: 1}]"
FOREIGN = f"- name: mine # and this\n  results:\n    {RESULT}\n"
FRONT_MATTERS = [
    "",
    "license: mit",
    "# a comment\nlicense:   'mit' # another\ntags: [b, a]\nextra: {z: 1}\n# the end",
    "model-index:\n\nlicense: mit",
    "model-index: [] # none yet\nlicense: mit",
    f"model-index:\n{FOREIGN}\n# about tags\ntags: [a]",
    "license: mit\nmodel-index:\n  " + FOREIGN.replace("\n", "\n  ").rstrip(),
]
BODIES = ["", "\n# Title\n", "\nno line break", f"\nabove  \n\n{START}\nold\n{END}\n\nbelow\t\n"]


def in_card(front, body):
    return f"---\n{front}\n---\n{body}"


def without_own(card):
    """The parsed front matter without the entry of this suite, and the text around the section."""
    data = yaml.safe_load(card.split("---", 2)[1].replace("\r\n", "\n")) or {}
    entries = data.pop("model-index", None) or []
    others = [one for one in entries if one["results"][0]["task"]["type"] == "other"]
    return data, others


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("front", FRONT_MATTERS)
def test_an_update_keeps_every_other_character_and_twice_is_once(front, body, newline):
    card = in_card(front, body).replace("\n", newline)
    updated = updated_card(ONE, "vgg19", card)
    assert values_of(updated) | values_of(new_card(ONE, "vgg19")) == values_of(updated)
    assert without_own(updated) == without_own(card)
    assert updated_card(ONE, "vgg19", updated) == updated
    assert ("\r\n" in updated) == (newline == "\r\n")
    assert updated.count("\n") == updated.count(newline)
    entry = re.search(
        r"^ *- name: vgg19\r?$(.|\n)*?Expected calibration error(\r?\n|$)", updated, re.MULTILINE
    )[0]
    section = updated[updated.index(START) : updated.index(END) + len(END)]
    rest = updated.replace(entry, "").replace(section, "").split()
    old = card.partition(START)[0] + card.partition(END)[2] if START in card else card
    added = [] if "model-index" in card else ["model-index:"]
    assert sorted(rest) == sorted([*old.replace("model-index: []", "model-index:").split(), *added])


def test_the_characters_before_and_after_the_parts_of_this_suite_are_the_same():
    front = f"# c\nlicense:  mit\nmodel-index:\n{FOREIGN}# about tags\ntags: [b,   a]"
    card = updated_card(OTHER, "vgg19", in_card(front, BODIES[3]))
    new = updated_card(ONE, "vgg19", card)
    before, old_entry, after = re.split(r"(?<=value: 1}]\n)(- name: vgg19\n(?:  .*\n)+)", card)
    assert (before, after.partition(START)[0]) == (
        in_card(f"# c\nlicense:  mit\nmodel-index:\n{FOREIGN}", "").removesuffix("\n---\n"),
        "# about tags\ntags: [b,   a]\n---\n\nabove  \n\n",
    )
    assert after.partition(END)[2] == "\n\nbelow\t\n"
    assert new.startswith(before + "- name: vgg19\n")
    assert "gfpgan" in old_entry
    assert "gfpgan" not in new
    assert new.endswith(after.partition(END)[2])


@settings(max_examples=30)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60),
)
def test_any_text_around_the_section_is_kept(above, below):
    card = f"---\nlicense: mit\n---\n{above}\n{START}\nold\n{END}\n{below}"
    updated = updated_card(ONE, "vgg19", card)
    assert updated.partition("\n---\n")[2].startswith(f"{above}\n{START}\n")
    assert updated.endswith(f"\n{END}\n{below}")


def test_a_card_without_a_front_matter_gets_one_and_keeps_its_text_and_its_byte_order_mark():
    updated = updated_card(ONE, "vgg19", "\ufeff# Mine")
    assert updated.startswith("\ufeff---\n")
    assert updated.partition("\n---\n")[2].startswith(f"\n# Mine\n\n{START}\n")
    assert updated_card(ONE, "vgg19", updated) == updated


def test_scores_of_another_run_replace_those_of_the_last():
    card = updated_card(OTHER, "vgg19", in_card("license: mit", ""))
    assert ("restoration=gfpgan", "Accuracy") in values_of(card)
    assert updated_card(ONE, "vgg19", card) == updated_card(ONE, "vgg19", in_card("license: mit", ""))


def test_a_card_that_huggingface_hub_wrote_again_is_updated_without_a_second_copy_of_the_scores():
    """It writes all entries of `model-index` as one."""
    card = updated_card(ONE, "vgg19", in_card(f"model-index:\n{FOREIGN}", "text"))
    merged = str(ModelCard(card))
    assert merged.count("- name: vgg19") == 1
    updated = updated_card(ONE, "vgg19", merged)
    own = len(values_of(new_card(ONE, "vgg19")))
    assert len(data_of(updated).eval_results) == own + 1
    assert updated_card(ONE, "vgg19", updated) == updated
    entries = yaml.safe_load(updated.split("---")[1])["model-index"]
    assert [len(one["results"]) for one in entries] == [1, 1]


def test_several_entries_of_this_suite_become_one():
    entry = new_card(ONE, "vgg19").partition("model-index:\n")[2].partition("\n---\n")[0]
    updated = updated_card(ONE, "vgg19", in_card(f"model-index:\n{entry}\n{entry}\ntags: [a]", ""))
    assert updated == updated_card(ONE, "vgg19", in_card(f"model-index:\n{entry}\ntags: [a]", ""))


@pytest.mark.parametrize(
    ("card", "line", "problem"),
    [
        ("---\na: 1\nb: [1\nc: 2\n---\n", 4, "not valid YAML"),
        ("---\na: 2024-13-45\n---\n", 2, "month"),
        ("---\n- a\n---\n", 2, "no 'key: value' lines"),
        ("---\nlicense: mit\n\n# Title\n", 1, "no line --- at its end"),
        ("---\n---\n", 1, "is empty"),
        ("---\na: 1\nmodel-index:\n- name: x\n---\n", 3, "huggingface_hub cannot read it"),
        ("---\na: 1\nmodel-index: [{name: x, results: []}]\n---\n", 3, "in brackets"),
        ("---\nmodel-index: []\nmodel-index: []\n---\n", 3, "twice"),
        ("---\n{a: 1}\n---\n", 2, "in braces"),
        (f"---\na: 1\n---\ntext\n{END}\n", 5, f"one line {re.escape(START)}"),
        (f"---\na: 1\n---\n{END}\n{START}\n", 4, "line 4, 5"),
        (f"{START}\n{START}\n{END}\n", 1, "line 1, 2, 3"),
    ],
)
def test_a_card_that_cannot_be_edited_is_refused_with_the_line(card, line, problem):
    with pytest.raises(CardError, match=f"line {line}: .*{problem}"):
        updated_card(ONE, "vgg19", card)
