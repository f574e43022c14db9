"""Small open_clip models with random weights: our predictions are those of open_clip's functions."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from fakes import toy_faces
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from fer_models.artifacts import safetensors_io
from fer_models.classifiers import clip, prompts
from fer_models.classifiers.prompts import PromptSet
from fer_models.emotions import LABELS
from fer_models.errors import UnknownNameError, UsageError, WeightsError, WeightsMissingError
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

SMALL = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The name of a small architecture of open_clip's own parts, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "small-clip.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "small-clip.json")
    torch.manual_seed(0)
    model = clip.create("small-clip")
    save_file(model.state_dict(), folder / "small.safetensors")
    return folder / "small.safetensors"


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("nano") / "clip-nano.safetensors"
    clip.save(clip.create(clip.NANO), path, {"provenance": "{}"})
    return path


def by_open_clip_alone(architecture, path, prompt_set, faces):
    """A plain loop of open_clip's own functions in float32, as its README shows it."""
    model, _, transform = open_clip.create_model_and_transforms(
        architecture, pretrained=None, pretrained_text=False
    )
    model.load_state_dict(safetensors_io.read(path)[0])
    model.eval()
    tokenizer = open_clip.get_tokenizer(architecture)
    with torch.no_grad():
        columns = []
        for emotion in range(7):
            texts = model.encode_text(tokenizer(prompt_set.texts(emotion)))
            texts /= texts.norm(dim=-1, keepdim=True)
            mean = texts.mean(dim=0)
            columns.append(mean / mean.norm())
        images = model.encode_image(torch.stack([transform(Image.fromarray(face)) for face in faces]))
        images /= images.norm(dim=-1, keepdim=True)
        return (model.logit_scale.exp() * images @ torch.stack(columns).T).softmax(dim=-1).numpy()


@pytest.mark.filterwarnings("ignore")  # open_clip's own, in its own loop
@pytest.mark.parametrize("name", ["openai", "clip-benchmark", "plain", "descriptive"])
def test_our_predictions_are_those_of_a_plain_open_clip_loop_face_by_face(small, name):
    prompt_set, faces = prompts.load(name), toy_faces(42).faces(range(42))
    ours = clip.load(small, prompt_set, architecture="small-clip", device="cpu").predict(faces)
    theirs = by_open_clip_alone("small-clip", small, prompt_set, faces)
    np.testing.assert_allclose(ours.probabilities, theirs, atol=1e-5)
    np.testing.assert_array_equal(ours.answer, theirs.argmax(axis=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # open_clip's own, in its own loop
@pytest.mark.parametrize("architecture", [clip.NANO, "ViT-B-32"])
def test_the_same_holds_of_clip_nano_and_of_a_full_size_network(architecture, tmp_path):
    torch.manual_seed(2)
    path, prompt_set, faces = (
        tmp_path / "random.safetensors",
        prompts.load("plain"),
        toy_faces(7).faces(range(7)),
    )
    save_file(clip.create(architecture).state_dict(), path)
    ours = clip.load(path, prompt_set, architecture=architecture, device="cpu").predict(faces)
    theirs = by_open_clip_alone(architecture, path, prompt_set, faces)
    np.testing.assert_allclose(ours.probabilities, theirs, atol=1e-5)
    np.testing.assert_array_equal(ours.answer, theirs.argmax(axis=1))


def test_with_one_word_each_our_class_embeddings_are_open_clips_zero_shot_classifier(small):
    prompt_set = prompts.load("clip-benchmark")
    model = clip.load(small, prompt_set, architecture="small-clip", device="cpu")
    theirs = open_clip.build_zero_shot_classifier(
        model.model,
        model.tokenizer,
        [w for (w,) in prompt_set.words],
        [t.format for t in prompt_set.templates],
    )
    np.testing.assert_allclose(model.class_embeddings(prompt_set), theirs.T.numpy(), atol=1e-6)


def test_a_file_of_ours_holds_everything_needed(nano):
    model = clip.load(nano, prompts.load("openai"), device="cpu")
    faces = toy_faces(14).faces(range(14))
    predictions = model.predict(faces)
    assert len(predictions) == 14
    np.testing.assert_allclose(
        model.classify(model.embed(faces)).probabilities, predictions.probabilities, atol=1e-6
    )
    assert model.preprocess(faces).shape == (14, 3, 48, 48)
    assert model.parameters == sum(
        t.numel()
        for k, t in safetensors_io.read(nano)[0].items()
        if "running" not in k and "num_batches" not in k
    )
    assert model.macs > 1e6


@pytest.mark.slow
def test_it_is_built_in_a_process_that_imports_no_other_network_of_ours():
    process = subprocess.run(
        [sys.executable, "-c", "from fer_models.classifiers import clip; clip.create(clip.NANO)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr


def test_ones_own_weights_are_named_by_the_network_and_their_file(nano):
    spec = resolve.resolve_model(f"clip-nano@{nano}", models.MODELS)
    assert spec.has_embeddings
    assert spec.precision == models.CLIP_NANO.precision, "else a comparison would be one of precisions"
    assert len(spec.load(Runtime("cpu")).predict(toy_faces(7).faces(range(7)))) == 7


def test_weights_of_another_network_than_the_named_one_are_refused(nano):
    spec = resolve.resolve_model(f"open_clip:ViT-B-32@{nano}", models.MODELS)
    with pytest.raises(WeightsError, match="holds the network clip-nano, not ViT-B-32"):
        spec.load(Runtime("cpu"))


def test_the_embedding_of_a_face_does_not_depend_on_prompts(nano):
    faces = toy_faces(7).faces(range(7))
    one, other = (clip.load(nano, prompts.load(name), device="cpu") for name in ("openai", "plain"))
    np.testing.assert_array_equal(one.embed(faces), other.embed(faces))
    np.testing.assert_array_equal(
        one.classify(one.embed(faces), prompts.load("plain")).probabilities,
        other.predict(faces).probabilities,
    )


def test_a_text_is_encoded_once(nano, monkeypatch):
    model = clip.load(nano, prompts.load("openai"), device="cpu")
    model.class_embeddings(prompts.load("openai"))
    monkeypatch.setattr(model.model, "encode_text", lambda *_: pytest.fail("encoded again"))
    model.class_embeddings(prompts.load("openai"))


def test_quantized_to_eight_bits_it_is_small_and_predicts_nearly_the_same(nano, tmp_path):
    state, metadata = safetensors_io.read(nano)
    safetensors_io.write(safetensors_io.quantize(state, 8), tmp_path / "packed.safetensors", metadata)
    assert (tmp_path / "packed.safetensors").stat().st_size < 10 * 2**20
    faces = toy_faces(14).faces(range(14))
    exact, packed = (
        clip.load(p, prompts.load("plain"), device="cpu").predict(faces)
        for p in (nano, tmp_path / "packed.safetensors")
    )
    assert np.abs(exact.probabilities - packed.probabilities).max() < 0.1


def test_a_prompt_that_the_model_would_cut_is_refused(nano):
    model = clip.load(nano, prompts.load("plain"), device="cpu")
    long = PromptSet("long", ("a photo of " + "very " * 40 + "{} face",), tuple((label,) for label in LABELS))
    with pytest.raises(UsageError, match=r"takes \d+ tokens; this model reads 32"):
        model.class_embeddings(long)


def test_a_prompt_that_a_tokenizer_of_transformers_would_cut_is_refused_too(nano, tmp_path):
    words = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "very"))}
    fast = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    fast.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path
    )
    model = clip.load(nano, prompts.load("plain"), device="cpu")
    model.tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=32)
    assert model._tokenize(["very " * 32]).shape == (1, 32)
    with pytest.raises(UsageError, match="takes 33 tokens; this model reads 32"):
        model._tokenize(["very " * 33])


def test_nothing_is_left_to_random_weights(small, nano, tmp_path):
    state = safetensors_io.read(small)[0]
    state.pop("ln_final.weight")
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(WeightsError, match="does not fit small-clip"):
        clip.load(tmp_path / "broken.safetensors", prompts.load("plain"), architecture="small-clip")
    with pytest.raises(WeightsError, match="does not fit"):
        clip.load(small, prompts.load("plain"), architecture=clip.NANO)
    with pytest.raises(WeightsError, match="open_clip:ARCHITECTURE@"):
        clip.load(small, prompts.load("plain"))
    with pytest.raises(UnknownNameError, match="small-clip"):
        clip.load(small, prompts.load("plain"), architecture="smal-clip")


def test_another_activation_than_the_checkpoint_was_trained_with_is_refused():
    with pytest.raises(UsageError, match="open_clip:ViT-B-32-quickgelu/openai"):
        clip.pretrained_config("ViT-B-32", "openai")
    with pytest.raises(UnknownNameError, match="openai"):
        clip.pretrained_config("ViT-B-32-quickgelu", "opnai")


@pytest.mark.parametrize("spec", [s for s in models.CLIPS if s.name != "clip-nano"], ids=lambda s: s.name)
def test_the_repository_of_a_checkpoint_is_that_of_open_clips_list(spec):
    architecture, tag = spec.settings["network"].rsplit("/", 1)
    repository, preprocess = clip.pretrained_config(architecture, tag)
    assert spec.weights.locate.__closure__ is not None
    assert repository in [cell.cell_contents for cell in spec.weights.locate.__closure__]
    assert set(preprocess) == {"mean", "std", "interpolation", "resize_mode"}


# -- as subjects ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_any_architecture_of_open_clips_runs_with_a_checkpoint_of_ones_own(small):
    spec = resolve.resolve_model(f"open_clip:small-clip@{small}", models.MODELS)
    faces = toy_faces(7).faces(range(7))
    np.testing.assert_allclose(
        spec.load(Runtime(device="cpu")).predict(faces).probabilities,
        by_open_clip_alone("small-clip", small, prompts.load("openai"), faces),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-B-32", "needs a checkpoint"),
        ("open_clip:ViT-B-32-quickgelu/opnai", "openai"),
        ("open_clip:ViT-B-23/openai", "Did you mean"),
        ("open_clip:ViT-B-32@nowhere.safetensors", "does not exist"),
    ],
)
def test_an_impossible_clip_model_is_refused_with_the_reason(name, message):
    with pytest.raises(UsageError, match=message):
        resolve.resolve_model(name, models.MODELS)


def test_a_missing_checkpoint_names_the_command_and_nothing_is_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("clip-vit-b-32", "open_clip:ViT-B-32-quickgelu/openai", "hf-hub:someone/something"):
        with pytest.raises(WeightsMissingError, match=f"fer-models weights fetch {name}"):
            resolve.resolve_model(name, models.MODELS).weights_path()


def test_a_repository_in_the_hubs_cache_is_used_as_it_is(monkeypatch, tmp_path, small):
    """Laid out as the Hub's library lays it out: refs, snapshots."""
    folder = tmp_path / "models--someone--small" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (tmp_path / "models--someone--small" / "refs").mkdir()
    (tmp_path / "models--someone--small" / "refs" / "main").write_text("abc")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    os.link(small, folder / "open_clip_model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    spec = resolve.resolve_model("hf-hub:someone/small", models.MODELS)
    assert spec.weights_path() == folder
    model: Any = spec.load(Runtime(device="cpu"))
    assert model.preprocess([np.full((48, 48, 3), 255, dtype=np.uint8)]).max() == pytest.approx(1.0)
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no model of open_clip's"):
        spec.load(Runtime(device="cpu"))


def test_a_checkpoint_of_ones_own_is_preprocessed_as_the_published_ones_are():
    assert clip.published_preprocessing("ViT-B-16-SigLIP")["mean"] == (0.5, 0.5, 0.5)
    assert clip.published_preprocessing("RN50")["mean"][0] == pytest.approx(0.48145466)
    assert clip.published_preprocessing("clip-nano") is None


@pytest.mark.parametrize("setting", ["trust_remote_code", "subfolder", "cache_dir"])
def test_a_repository_cannot_ask_for_code_or_files_through_its_tokenizer(tmp_path, small, setting):
    os.link(small, tmp_path / "open_clip_model.safetensors")
    text = {**SMALL["text_cfg"], "hf_tokenizer_name": "x/y", "tokenizer_kwargs": {setting: True}}
    config = {"model_cfg": {**SMALL, "text_cfg": text}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=f"unknown settings {setting}"):
        clip.load_repository(tmp_path, prompts.load("plain"), device="cpu")


def test_nothing_is_downloaded_while_a_model_is_loaded(monkeypatch, small):
    calls = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def tokenizer(name, **settings):
        from huggingface_hub import constants

        calls.append((constants.HF_HUB_OFFLINE, settings))
        raise OSError("not in the cache")

    monkeypatch.setattr(clip.open_clip, "get_tokenizer", tokenizer)
    text = {"text_cfg": {"hf_tokenizer_name": "timm/some"}}
    monkeypatch.setattr(clip.open_clip, "get_model_config", lambda name: text)
    assert clip.text_repositories("any") == ["timm/some"]
    with pytest.raises(OSError, match="not in the cache"):
        clip._tokenizer("any", text["text_cfg"])
    assert calls == [(True, {"trust_remote_code": False, "local_files_only": True})]
    from huggingface_hub import constants

    assert not constants.HF_HUB_OFFLINE


def test_another_prompt_set_is_another_subject_with_the_same_embeddings(nano, monkeypatch):
    plain = resolve.with_prompts(models.MODELS, prompts.load("plain"))
    one, other = models.MODELS["clip-vit-b-32"], plain["clip-vit-b-32"]
    assert (one.prompt, other.prompt) == ("openai", "plain")
    assert plain["vgg19"] is models.MODELS["vgg19"]
    one, other = models.CLIP_NANO, plain["clip-nano"]
    monkeypatch.setattr("fer_models.artifacts.weights.find", lambda name: nano)
    assert one.identity(Runtime()) != other.identity(Runtime())
    assert one.embedding_identity(Runtime()) == other.embedding_identity(Runtime())


def test_with_test_time_augmentation_it_has_no_embeddings_and_keeps_it_with_other_prompts(nano, monkeypatch):
    monkeypatch.setattr("fer_models.artifacts.weights.find", lambda name, suffix=".safetensors": nano)
    both = resolve.resolve_model("clip-nano+tta", models.MODELS)
    assert not both.has_embeddings
    assert (
        both.with_prompts(prompts.load("plain")).name,
        both.with_prompts(prompts.load("plain")).prompt,
    ) == ("clip-nano+tta", "plain")
    face = toy_faces(1).faces([0])
    plain = models.CLIP_NANO.load(Runtime(device="cpu"))
    mean = (plain.predict(face).probabilities + plain.predict([face[0][:, ::-1].copy()]).probabilities) / 2
    np.testing.assert_allclose(both.load(Runtime(device="cpu")).predict(face).probabilities, mean, atol=1e-6)


@pytest.mark.slow
def test_bf16_converts_the_image_encoder_as_a_whole_and_keeps_the_answers():
    """Texts, which decide every answer, are embedded in float32."""
    faces = toy_faces(42).faces(range(42))
    loaded: list[Any] = [
        models.CLIP_NANO.load(Runtime("cpu", precision)) for precision in ("float32", "bf16")
    ]
    exact, fast = loaded
    assert {p.dtype for p in fast.model.visual.parameters()} == {torch.bfloat16}
    np.testing.assert_array_equal(fast.embed_texts(["a face"]), exact.embed_texts(["a face"]))
    cosines = (fast.embed(faces) * exact.embed(faces)).sum(axis=1)
    assert cosines.min() > 0.999
    assert (fast.predict(faces).answer == exact.predict(faces).answer).mean() > 0.95
    assert fast.macs == exact.macs
