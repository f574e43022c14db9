"""`fer-models train` for the networks with recipes of their own; the other ones are in `tests/cli`."""

from dataclasses import replace

import pytest
from fakes import toy_faces
from PIL import Image

from fer_models import cli
from fer_models.emotions import LABELS
from fer_models.training import clip, vlm
from fer_models.training.recipes import RECIPES, VISION_ENCODER
from fer_models.training.session import RunOptions, TrainingData
from fer_models.training.supervised import SupervisedTraining

pytestmark = pytest.mark.slow

TINY = {
    "clip-nano": (clip, "ContrastiveRecipe", clip.ContrastiveRecipe(views=1, chosen_by="plain")),
    "phi3v-nano": (vlm, "VlmRecipe", vlm.VlmRecipe(hidden=48, layers=1, heads=2, intermediate=64, views=1)),
}


@pytest.fixture
def vision_encoder(tmp_path, monkeypatch):
    """A weights folder with a vision encoder."""
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    recipe = replace(RECIPES[VISION_ENCODER], epochs=1, batch_size=14, teacher=None, hint=None)
    monkeypatch.setitem(RECIPES, VISION_ENCODER, recipe)
    data, options = TrainingData([toy_faces(14)], toy_faces(7, "test")), RunOptions(device="cpu")
    SupervisedTraining(VISION_ENCODER, recipe, data, options).run(tmp_path / "weights")


@pytest.fixture
def folder(tmp_path):
    """A folder with a dataset."""
    for split, n in (("train", 28), ("val", 14), ("test", 7)):
        for i, (image, label) in enumerate(zip(toy_faces(n).images, toy_faces(n).labels, strict=True)):
            path = tmp_path / "faces" / split / LABELS[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return tmp_path


@pytest.mark.parametrize("model", TINY)
def test_a_killed_training_resumes_by_the_same_command_and_not_with_no_resume(
    folder, monkeypatch, capsys, request, model
):
    if model == "phi3v-nano":
        request.getfixturevalue("vision_encoder")
    module, name, recipe = TINY[model]
    monkeypatch.setattr(module, name, lambda: recipe)
    output, epochs = folder / "out", ["--epochs", "3", "--batch-size", "14"]
    data = ["--dataset", str(folder / "faces"), "--no-synthetic", "--device", "cpu"]
    command = ["train", model, *data, *epochs, "--output", str(output)]
    save_checkpoint = module.Session._save_checkpoint

    def kill(self, path):
        save_checkpoint(self, path)
        if len(self.history) == 2:
            raise RuntimeError("killed")

    def train(*options):
        """Epochs that were trained."""
        capsys.readouterr()
        assert cli.main([*command, *options]) == 0
        printed = capsys.readouterr().out
        assert f"on faces/validation): {output / model}" in printed
        return [n for n in (1, 2, 3) if f"epoch {n}/3 at 48 px: loss" in printed]

    def kill_training():
        with monkeypatch.context() as patch:
            patch.setattr(module.Session, "_save_checkpoint", kill)
            with pytest.raises(RuntimeError, match="killed"):
                cli.main(command)
        assert (output / f"{model}.checkpoint.safetensors").exists()

    kill_training()
    assert train() == [3]
    kill_training()
    assert train("--no-resume") == [1, 2, 3]
