"""Whole runs of image classifiers of transformers."""

import image_classifiers
import pytest

from fer_models.emotions import LABELS

pytestmark = pytest.mark.slow


def test_an_image_classifier_of_transformers_is_evaluated_by_its_name_with_notes_on_its_classes(bench):
    labels = [name for name in LABELS if name != "disgust"]
    folder = image_classifiers.vit(bench.folder / "mine", [*labels, "contempt"])
    done = bench.run("--model", f"hf:vit@{folder}", "--limit", "21")
    (result,) = bench.report()["results"]
    assert result["subject"]["model"] == "hf:vit@mine"
    assert result["n"] == 21
    assert [note.partition(":")[0] for note in result["notes"][-2:]] == [
        "the model also has classes outside the seven emotions (contempt)",
        "the model has no class for disgust, and never predicts it",
    ]
    assert "Traceback" not in done.stdout


def test_an_image_classifier_without_names_of_classes_fails_in_one_sentence(bench):
    folder = image_classifiers.vit(bench.folder / "mine", [f"LABEL_{i}" for i in range(7)])
    done = bench.run("--model", f"hf:vit@{folder}", "--limit", "21", code=1)
    assert "gives no names of classes, only numbers" in done.stdout
    assert "Traceback" not in done.stdout
