"""Model cards for the Hugging Face Hub."""

import re
import shlex
from dataclasses import replace
from functools import cache

import pytest
from eval_reports import (
    baseline,
    changes,
    content,
    corruption_entry,
    cost_ratio_entry,
    face_set,
    full_content,
    full_report,
    full_result,
    metamorphic_entry,
    parity_entry,
    prompt_entry,
    question_entry,
    report,
    restoration_entry,
    result,
    score,
    subject,
)
from huggingface_hub import ModelCard
from hypothesis import assume, example, given, settings
from markup import HOSTILE, NAMES, Tags, markup_in, tables_in, tokens_in
from model_cards import DATA, ONE, OTHER, data_of, scored, section_of, values_of

from fer_models.emotions import LABELS
from fer_models.errors import FerModelsError, UnknownNameError, printable
from fer_models.report.card import new_card, updated_card
from fer_models.report.card_edit import END, START
from fer_models.report.eval_report import EvalReport

# A new card.


def test_huggingface_hub_reads_every_metric_from_the_card():
    card = new_card(ONE, "vgg19")
    data = data_of(card)
    assert data.model_name == "vgg19"
    assert data.pipeline_tag == "image-classification"
    assert values_of(card) == {
        (None, "Accuracy"): 0.6123,
        (None, "Macro F1"): 0.5,
        **{(None, f"Recall of {label}"): i / 10 for i, label in enumerate(LABELS)},
        (None, "Expected calibration error"): 0.1,
    }
    for one in data.eval_results:
        assert one.task_type == "image-classification"
        assert (one.dataset_type, one.dataset_split, one.dataset_revision) == (
            "fer2013",
            "private_test",
            "9c11ab",
        )
        assert one.verified is None, "only the Hub's own evaluation verifies"


def test_a_metric_that_was_not_measured_is_left_out():
    card = new_card(report(results=[result(metrics={"accuracy": score(0.7)})]), "vgg19")
    assert values_of(card) == {(None, "Accuracy"): 0.7}
    assert "calibration, because the model gives no probabilities" in card


def test_each_restoration_corruption_and_prompt_is_a_configuration():
    results = [
        scored(restoration="gfpgan", n=49),
        scored(),
        scored(corruption="jpeg@3", prompt="openai"),
        scored(model="resnet50"),
    ]
    data = data_of(new_card(report(results=results), "vgg19"))
    names = list(dict.fromkeys((one.dataset_config, one.dataset_name) for one in data.eval_results))
    assert names == [
        (None, "FER-2013, private_test, 3,589 faces"),
        ("restoration=gfpgan", "FER-2013, private_test, 49 of 3,589 faces, restoration=gfpgan"),
        (
            "corruption=jpeg@3, prompt=openai",
            "FER-2013, private_test, 3,589 faces, corruption=jpeg@3, prompt=openai",
        ),
    ]


def test_a_model_without_results_is_unknown_and_the_models_of_the_report_are_named():
    with pytest.raises(UnknownNameError, match=r"named 'vgg18'.*Known: clip, resnet50, vgg19"):
        new_card(full_report(), "vgg18")
    with pytest.raises(UnknownNameError, match=r"It was skipped: its weights are not here"):
        updated_card(full_report(), "phi-3.5-vision", "")


def test_results_that_huggingface_hub_cannot_tell_apart_are_refused():
    same = [scored(dataset="a\n", n=7), scored(dataset="a\\n", n=9)]
    with pytest.raises(FerModelsError, match="Nothing was written"):
        new_card(report(results=same), "vgg19")


# Its section.


def test_the_section_has_the_metrics_with_intervals_and_the_recall_of_each_emotion():
    card = new_card(OTHER, "vgg19")
    scores, recalls, *_ = tables_in(section_of(card))
    assert scores == [
        ["faces as", "faces", "no prediction", "accuracy", "macro F1", "ECE"],
        *(
            [name, "3,589", "0", "0.612 [0.602, 0.622]", "0.500 [0.490, 0.510]", "0.100 [0.090, 0.110]"]
            for name in ("raw", "gfpgan")
        ),
    ]
    assert recalls[0] == ["recall of", "raw", "gfpgan"]
    assert recalls[1:] == [
        [label, *[f"{i / 10:.3f} [0.000, 1.000], n 10"] * 2] for i, label in enumerate(LABELS)
    ]


def test_the_verdict_is_there_with_the_baseline_and_its_date():
    judged = result(
        accuracy=0.6, verdict="FAIL", fails=True, baseline=baseline(0.65), changes=changes(-0.05, 0.001)
    )
    section = section_of(new_card(report(results=[judged]), "vgg19"))
    assert "`vgg19-raw` failed on `fer2013/private_test`" in section
    (rows,) = (table for table in tables_in(section) if "verdict" in table[0])
    assert rows[1] == ["raw", "0.650", "2026-01-01", "0.600", "-0.050", "0.001", "FAIL"]


def test_leaks_votes_restorations_and_robustness_have_tables_if_they_were_measured():
    section = section_of(new_card(full_report(), "vgg19"))
    by_heading = {tuple(table[0]): table[1:] for table in tables_in(section)}
    leaks = by_heading["faces as", "leaked faces", "accuracy on them", "accuracy without them", "difference"]
    assert leaks[0][:2] == ["raw · plain", "289 of 3,589"]
    assert any("label of one annotator" in heading for heading in by_heading)
    (effects,) = (rows for heading, rows in by_heading.items() if "corrected" in heading)
    assert effects[0][:3] == ["gfpgan", "raw", "3,589"]
    (figures,) = (rows for heading, rows in by_heading.items() if heading[0] == "figure")
    assert figures[0][0] == "prompts: worst template"
    for line in ("flip rates mirror image 10.0%", "mean error 0.450", "lowest accuracy 0.500 (jpeg)", "FAIL"):
        assert line in section
    plain = section_of(new_card(ONE, "vgg19"))
    for heading in ("### Leaked faces", "### Agreement", "### Restorations", "### Robustness"):
        assert heading in section
        assert heading not in plain


def test_a_card_has_no_cost_ratio_of_another_model():
    one, other = cost_ratio_entry(), cost_ratio_entry()
    other = {**other, "subject": {**other["subject"], "model": "resnet50"}, "id": "resnet50-raw on x/test"}
    both = replace(full_report(), cost_ratios=report(cost_ratios=[one, other]).cost_ratios)
    assert new_card(both, "vgg19") == new_card(full_report(), "vgg19")


def test_what_was_not_measured_is_said():
    section = section_of(new_card(report(results=[result(prompt="openai")], data=DATA), "vgg19"))
    for text in (
        "how many faces are also in the training split",
        "agreement with annotators",
        "calibration",
        "effects of restorations",
        "robustness against other prompts or questions",
        "robustness against small changes of the pictures",
        "robustness against corruptions",
    ):
        assert f"Not measured in this run: {text}" in section
    whole = section_of(new_card(full_report(), "vgg19"))
    assert re.findall("Not measured in this run: (.*)", whole) == ["`corruption severities 1`."]


def test_faces_of_several_splits_have_tables_of_their_own_under_one_heading():
    results = [full_result("vgg19"), full_result("vgg19")]
    results[1]["subject"] = subject(split="public_test")
    section = section_of(new_card(report(results=results), "vgg19"))
    for heading in ("### Scores", "### Leaked faces", "### Agreement with annotators"):
        assert section.count(heading) == 1
    assert section.count("| leaked faces |") == 2
    assert "On `fer2013/public_test`" in section


def test_notes_on_results_and_faces_are_limits():
    data = {"fer2013/private_test": face_set(notes=["tiny", "of the faces"])}
    section = section_of(new_card(report(results=[result(notes=["tiny"])], data=data), "vgg19"))
    assert re.findall("- Note: (.*)", section) == [
        "`tiny (vgg19-raw)`",
        "`fer2013/private_test: of the faces`",
    ]


@pytest.mark.parametrize(
    ("dataset", "caution"),
    [
        ("synthetic", "say nothing about real faces"),
        ("fer2013", "noisy labels"),
        ("mine", "no description of these faces"),
    ],
)
def test_the_card_tells_what_the_faces_are(dataset, caution):
    one = report(results=[result(dataset=dataset)], data={f"{dataset}/private_test": face_set()})
    assert caution in section_of(new_card(one, "vgg19"))


def test_a_part_of_a_split_is_called_limited():
    part = report(results=[result(n=70)], data={"fer2013/private_test": face_set(n=70, of=3589)})
    section = section_of(new_card(part, "vgg19"))
    assert "Limited: only some faces" in section
    assert "70 of 3,589 faces" in section
    assert "Limited" not in section_of(new_card(ONE, "vgg19"))


def test_the_command_and_the_versions_are_there_without_paths_of_the_machine():
    command = shlex.join(
        ["fer-models", "eval", "--data-root", "/home/me/my faces", "-k", "accuracy and vgg19-raw"]
    )
    environment = {"torch": "2.9.1", "command": "pytest /home/me/evals"}
    section = section_of(
        new_card(report(results=[result(command=command)], environment=environment), "vgg19")
    )
    assert "fer-models eval --data-root FOLDER -k 'accuracy and vgg19-raw'" in section
    assert "`torch 2.9.1`" in section
    assert "/home/me" not in section


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("onnx:/home/me/net.onnx", "onnx:FOLDER"),
        ("resnet50@/home/me/w.safetensors", "resnet50@FOLDER"),
        ("resnet50@~/w.safetensors", "resnet50@FOLDER"),
        (r"onnx:C:\\Users\\me\\net.onnx", "onnx:FOLDER"),
        ("endpoint:qwen@http://localhost:8000/v1", "endpoint:qwen@http://localhost:8000/v1"),
    ],
)
def test_a_path_within_a_word_is_not_shown_either(word, shown):
    command = shlex.join(["fer-models", "eval", "--model", word, "-k", "accuracy"])
    section = section_of(new_card(report(results=[result(command=command)]), "vgg19"))
    assert f"fer-models eval --model {shown} -k accuracy" in section


# Names from outside.


def named(name):
    """A report in which each text from outside is `name`."""

    def rename(value, key=""):
        if isinstance(value, dict):
            return {inner: rename(one, inner) for inner, one in value.items()}
        if isinstance(value, list | tuple):
            return [rename(one, key) for one in value]
        keeps = ("verdict", "picture", "before", "after", "command")
        if not isinstance(value, str) or key in keeps:
            return value
        return f"message {name}" if key == "message" else name

    entries = {
        "results": [full_result("vgg19"), full_result("vgg19", "FAIL", "it fell")],
        "prompts": [prompt_entry(), question_entry()],
        "metamorphic": [metamorphic_entry()],
        "corruptions": [corruption_entry()],
        "parity": [parity_entry()],
        "restorations": [restoration_entry()],
        "depth": full_content()["depth"],
        "environment": {"torch": "2.9.1"},
    }
    whole = content(**{key: rename(value) for key, value in entries.items()})
    whole["data"] = {f"{name}/{name}": face_set(fingerprint=name, counts={name: 7})}
    for one in whole["results"]:
        one["subject"] = subject(model=name, dataset=name, split=name, prompt=name, restoration=name)
        one["command"] = f"fer-models eval -k {shlex.quote(f'accuracy and {name}')}"
    return EvalReport.from_json(whole)


@cache
def plain_card():
    return new_card(named("net"), "net")


@pytest.mark.slow
@settings(max_examples=20)
@example(HOSTILE)
@example(f"a\n{END}\n{START}\n---\nb: [")
@example(" ")
@example("---")
@example("yes: {a: *b}")
@example("[~]")
@given(NAMES)
def test_no_name_breaks_the_front_matter_or_adds_markup(name):
    card, plain = new_card(named(name), name), plain_card()
    assume("FOLDER" not in card)  # a name with a path in it has one more sentence
    assert data_of(card).model_name == printable(name)
    assert len(data_of(card).eval_results) == len(data_of(plain).eval_results)
    text, plain_text = ModelCard(card).text, ModelCard(plain).text
    assert [token.type for token in tokens_in(text)] == [token.type for token in tokens_in(plain_text)]
    assert [[len(row) for row in one] for one in tables_in(text)] == [
        [len(row) for row in one] for one in tables_in(plain_text)
    ]
    assert Tags("".join(markup_in(text))).tags == []
    assert updated_card(named(name), name, card) == card


def test_an_error_of_a_check_of_the_model_is_part_of_its_verdict():
    name = result()["id"]
    made = report(
        results=[result()],
        errors=[
            {"subject": f"corruptions of {name}", "message": "it raised"},
            {"subject": "corruptions of other-raw on x/y", "message": "not this one"},
        ],
    )
    card = new_card(made, result()["subject"]["model"])
    assert f"1 error: corruptions of {name}" in card.replace("`", "")
