"""Files of the port of Phi-3.5-vision: official names and widths, damaged and split checkpoints."""

import json

import numpy as np
import pytest
import torch
from chats import VISION, checkpoint, config
from fakes import toy_faces
from safetensors.torch import load_file, save_file

from fer_models.artifacts import safetensors_io
from fer_models.classifiers.vlm import phi3v, questions
from fer_models.errors import PredictionError, UsageError, WeightsError

QUESTION = questions.load("one-word")


def faces(n=4):
    return toy_faces(n).faces(range(n))


def test_the_whole_list_of_official_names_loads_and_nothing_else(tmp_path):
    vision = {**VISION, "num_hidden_layers": 24}
    whole = checkpoint(tmp_path / "whole", layers=32, vision=vision)
    names = set(load_file(whole / "model.safetensors"))
    assert len(names) == 32 * 6 + 3 + 24 * 16 + 7 + 2 + 4
    tower = "model.vision_embed_tokens.img_processor.vision_model"
    for name in (
        *(
            "model.embed_tokens.weight",
            "model.norm.weight",
            "lm_head.weight",
            "model.layers.31.self_attn.qkv_proj.weight",
        ),
        *(
            "model.layers.0.mlp.gate_up_proj.weight",
            "model.vision_embed_tokens.glb_GN",
            "model.vision_embed_tokens.img_projection.2.bias",
        ),
        *(
            f"{tower}.embeddings.class_embedding",
            f"{tower}.pre_layrnorm.weight",
            f"{tower}.encoder.layers.23.mlp.fc2.bias",
        ),
        *(f"{tower}.encoder.layers.0.self_attn.out_proj.weight", f"{tower}.post_layernorm.bias"),
    ):
        assert name in names
    assert phi3v.load(whole, device="cpu").parameters > 0


def test_the_published_widths_are_those_of_the_files(tmp_path):
    """One layer of everything at full width, as the official config.json says, without its numbers."""
    configuration = config(32064, hidden=3072, layers=1, heads=32, vision=None, intermediate_size=8192)
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in phi3v.Phi3V(configuration).state_dict().items()}
        names = phi3v.official_names(phi3v.Phi3V(configuration))
    official = {name: shapes[here] for name, here in names.items()}
    tower = "model.vision_embed_tokens.img_processor.vision_model"
    assert official["model.layers.0.self_attn.qkv_proj.weight"] == (9216, 3072)
    assert official["model.layers.0.mlp.gate_up_proj.weight"] == (16384, 3072)
    assert official["model.vision_embed_tokens.img_projection.0.weight"] == (3072, 4096)
    assert official["model.vision_embed_tokens.sub_GN"] == (1, 1, 1, 4096)
    assert official["model.vision_embed_tokens.glb_GN"] == (1, 1, 4096)
    assert official[f"{tower}.embeddings.position_embedding.weight"] == (577, 1024)
    assert official[f"{tower}.encoder.layers.23.mlp.fc1.weight"] == (4096, 1024)


@pytest.mark.slow
def test_a_full_width_layer_loads_and_answers_in_bf16(tmp_path):
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    }
    wide = checkpoint(
        tmp_path, dtype="bf16", hidden=3072, layers=1, heads=32, intermediate_size=8192, vision=vision
    )
    chat = phi3v.load(wide, device="cpu", precision="bf16")
    assert {p.dtype for p in chat.network.parameters()} == {torch.bfloat16}
    assert chat.network.image_tokens([phi3v.hd_transform(faces(1)[0], 1, 336)])[0].shape == (313, 3072)
    scores = chat.loglikelihood(faces(1), QUESTION.render(), QUESTION.replies)
    assert np.isfinite(scores).all()


def altered(folder, to, change):
    to.mkdir()
    state = load_file(folder / "model.safetensors")
    save_file(change(state), to / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_a_missing_an_unexpected_and_a_misshapen_tensor_are_refused_by_name(folder, tmp_path):
    without = altered(
        folder, tmp_path / "a", lambda s: {k: v for k, v in s.items() if k != "model.norm.weight"}
    )
    more = altered(folder, tmp_path / "b", lambda s: {**s, "model.layers.0.adapter.weight": torch.zeros(2)})
    shared = altered(
        folder,
        tmp_path / "d",
        lambda s: {**s, "model.vision_embed_tokens.wte.weight": s["model.embed_tokens.weight"].clone()},
    )
    assert phi3v.load(
        shared, device="cpu"
    ).parameters  # the original shares this one, and some files hold it twice
    other = altered(folder, tmp_path / "c", lambda s: {**s, "lm_head.weight": torch.zeros(3, 3)})
    for wrong, message in (
        (without, r"lacks model\.norm\.weight"),
        (more, r"unexpectedly, .*adapter"),
        (other, r"lm_head\.weight \(3, 3\)"),
    ):
        with pytest.raises(WeightsError, match=message):
            phi3v.load(wrong, device="cpu")


def test_files_that_are_absent_cut_or_of_something_else_are_refused_in_words(folder, tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        phi3v.load(tmp_path, device="cpu")
    cut = altered(folder, tmp_path / "cut", lambda s: s)
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        phi3v.load(cut, device="cpu")
    (cut / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="lacks its safetensors files"):
        phi3v.load(cut, device="cpu")
    (cut / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}})
    )
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors is missing"):
        phi3v.load(cut, device="cpu")
    other = json.loads((folder / "config.json").read_text())
    other["rope_scaling"]["type"] = "yarn"
    (cut / "config.json").write_text(json.dumps(other))
    with pytest.raises(WeightsError, match="scaled by 'yarn'"):
        phi3v.load(cut, device="cpu")
    (cut / "config.json").write_text('{"model_type": "phi3_v"}')
    with pytest.raises(WeightsError, match=r"is no Phi-3\.5-vision"):
        phi3v.load(cut, device="cpu")
    with pytest.raises(UsageError, match="at least 1"):
        phi3v.load(folder, num_crops=0)


def test_a_model_split_over_several_files_is_the_same_model(folder, chat, tmp_path):
    split = altered(folder, tmp_path / "split", lambda s: s)
    state = load_file(split / "model.safetensors")
    halves = {"model-1.safetensors": sorted(state)[::2], "model-2.safetensors": sorted(state)[1::2]}
    for name, keys in halves.items():
        save_file({key: state[key] for key in keys}, split / name)
    (split / "model.safetensors").unlink()
    (split / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {k: name for name, keys in halves.items() for k in keys}})
    )
    again = phi3v.load(split, device="cpu")
    np.testing.assert_array_equal(
        again.loglikelihood(faces(), QUESTION.render(), QUESTION.replies),
        chat.loglikelihood(faces(), QUESTION.render(), QUESTION.replies),
    )


def test_a_model_that_has_no_room_is_refused_before_it_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(safetensors_io, "free_memory", lambda device: 100_000)
    with pytest.raises(
        PredictionError, match=r"needs 0\.0 GB on cpu, 0\.0 GB are free\. With --precision bf16 it takes half"
    ):
        phi3v.load(folder, device="cpu")
