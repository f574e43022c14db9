"""The port of Phi-3.5-vision, each stage against a computation of its own; the comparison with the original
code is in docs/phi-3.5-vision.md.
"""

import json
import math

import numpy as np
import pytest
import torch
from chats import VISION, by_full_passes, checkpoint, config
from fakes import toy_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.transforms import functional as tv

from fer_models.artifacts import safetensors_io
from fer_models.classifiers.vlm import phi3v, questions
from fer_models.classifiers.vlm.base import VlmClassifier
from fer_models.errors import PredictionError, UsageError, WeightsError

QUESTION = questions.load("one-word")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("phi3v"))


@pytest.fixture(scope="module")
def chat(folder):
    return phi3v.load(folder, device="cpu")


def faces(n=4):
    return toy_faces(n).faces(range(n))


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# -- pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_crops", "tokens"), [(1, 313), (4, 757), (16, 2509)])
def test_a_square_face_takes_as_many_tokens_as_published(num_crops, tokens):
    assert phi3v.hd_transform(faces(1)[0], num_crops, 336).tokens(24) == tokens


def hd_by_torchvision(pixels, num_crops, side):
    """The transform as it is described, with torchvision's operations on a Pillow picture: enlarge, pad with
    white, normalise.
    """
    image = Image.fromarray(pixels)
    turned = image.width < image.height
    image = image.transpose(Image.Transpose.TRANSPOSE) if turned else image
    ratio = image.width / image.height
    scale = max(s for s in range(1, num_crops + 1) if s * math.ceil(s / ratio) <= num_crops)
    image = tv.resize(image, [max(1, int(scale * side / ratio)), scale * side])
    missing = math.ceil(image.height / side) * side - image.height
    image = tv.pad(image, [0, missing // 2, 0, missing - missing // 2], fill=(255, 255, 255))
    image = image.transpose(Image.Transpose.TRANSPOSE) if turned else image
    return tv.normalize(
        tv.to_tensor(image), [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 2, 4, 7, 16]))
def test_crops_are_the_tiles_of_the_enlarged_padded_picture(width, height, num_crops):
    pixels, side = picture(width, height), 24
    whole, views = hd_by_torchvision(pixels, num_crops, side), phi3v.hd_transform(pixels, num_crops, side)
    assert (views.down * side, views.across * side) == whole.shape[1:]
    assert views.down * views.across <= num_crops
    for row in range(views.down):
        for column in range(views.across):
            tile = whole[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            view = views.pixels[-views.down * views.across + row * views.across + column]
            torch.testing.assert_close(view, tile, atol=1e-6, rtol=0)
    small = torch.nn.functional.interpolate(whole[None], size=(side, side), mode="bicubic")[0]
    torch.testing.assert_close(views.pixels[0], small, atol=1e-6, rtol=0)


# -- the network, stage by stage ----------------------------------------------------------------------


def norm(x, weight, eps=1e-5):
    return weight * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def phi3_by_numpy(files, c, x):
    """Phi-3 mini in numpy, from the tensors by their official names: hidden states (t, d) in, logits (t,
    vocabulary) out.
    """
    n, heads = len(x), c["num_attention_heads"]
    half = c["hidden_size"] // heads // 2
    long = n > c["original_max_position_embeddings"]
    factors = np.array(c["rope_scaling"]["long_factor" if long else "short_factor"])
    angles = np.arange(n)[:, None] / (factors * c["rope_theta"] ** (np.arange(half) / half))
    stretch = math.sqrt(
        1
        + math.log(c["max_position_embeddings"] / c["original_max_position_embeddings"])
        / math.log(c["original_max_position_embeddings"])
    )
    cos, sin = (np.tile(f(angles), 2) * stretch for f in (np.cos, np.sin))

    def turned(v):
        return v * cos + np.concatenate([-v[..., half:], v[..., :half]], -1) * sin

    for layer in range(c["num_hidden_layers"]):
        w = {
            k.split(f"layers.{layer}.")[1]: v
            for k, v in files.items()
            if k.startswith(f"model.layers.{layer}.")
        }
        q, k, v = np.split(
            norm(x, w["input_layernorm.weight"]) @ w["self_attn.qkv_proj.weight"].T, 3, axis=-1
        )
        q, k, v = (m.reshape(n, heads, -1).transpose(1, 0, 2) for m in (q, k, v))
        scores = turned(q) @ turned(k).transpose(0, 2, 1) / math.sqrt(2 * half)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        x = x + (softmax(scores) @ v).transpose(1, 0, 2).reshape(n, -1) @ w["self_attn.o_proj.weight"].T
        gate, up = np.split(
            norm(x, w["post_attention_layernorm.weight"]) @ w["mlp.gate_up_proj.weight"].T, 2, axis=-1
        )
        x = x + (up * gate / (1 + np.exp(-gate))) @ w["mlp.down_proj.weight"].T
    return norm(x, files["model.norm.weight"]) @ files["lm_head.weight"].T


def tower_by_numpy(files, vision, pixels):
    """The features of one view (3, side, side): what leaves the last layer but one, without the class token;
    (patches**2, d).
    """
    w = {k.split("vision_model.")[1]: v for k, v in files.items() if "vision_model." in k}
    side, d, heads = vision["patch_size"], vision["hidden_size"], vision["num_attention_heads"]
    count = vision["image_size"] // side
    patches = pixels.reshape(3, count, side, count, side).transpose(1, 3, 0, 2, 4).reshape(count * count, -1)
    x = np.concatenate(
        [
            w["embeddings.class_embedding"][None],
            patches @ w["embeddings.patch_embedding.weight"].reshape(d, -1).T,
        ]
    )
    x = x + w["embeddings.position_embedding.weight"]

    def layer_norm(v, name):
        v = v - v.mean(-1, keepdims=True)
        return v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(v, name):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = layer_norm(x, "pre_layrnorm")
    for layer in range(vision["num_hidden_layers"] - 1):
        at = f"encoder.layers.{layer}"
        q, k, v = (
            linear(layer_norm(x, f"{at}.layer_norm1"), f"{at}.self_attn.{one}_proj")
            .reshape(len(x), heads, -1)
            .transpose(1, 0, 2)
            for one in "qkv"
        )
        mixed = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(d // heads)) @ v
        x = x + linear(mixed.transpose(1, 0, 2).reshape(len(x), d), f"{at}.self_attn.out_proj")
        hidden = linear(layer_norm(x, f"{at}.layer_norm2"), f"{at}.mlp.fc1")
        x = x + linear(hidden / (1 + np.exp(-1.702 * hidden)), f"{at}.mlp.fc2")
    return x[1:]


def joined_by_numpy(files, views, features, patches):
    """Crops, separator, whole, through the projector: the tokens of one picture. `features`: one (patches**2,
    d) per view.
    """

    def row_of(maps):  # crops side by side, as one map of patches
        return np.concatenate([m.reshape(patches, patches, -1) for m in maps], axis=1)

    def merged(whole_map):
        lines = []
        for i in range(0, whole_map.shape[0], 2):
            for j in range(0, whole_map.shape[1], 2):
                lines.append(
                    np.concatenate(
                        [whole_map[i, j], whole_map[i, j + 1], whole_map[i + 1, j], whole_map[i + 1, j + 1]]
                    )
                )
            lines.append(files["model.vision_embed_tokens.sub_GN"].reshape(-1))
        return lines

    crops = features[-views.down * views.across :]
    rows = [row_of(crops[r * views.across : (r + 1) * views.across]) for r in range(views.down)]
    lines = [
        *merged(np.concatenate(rows)),
        files["model.vision_embed_tokens.glb_GN"].reshape(-1),
        *merged(row_of(features[:1])),
    ]
    at = "model.vision_embed_tokens.img_projection"
    hidden = np.stack(lines) @ files[f"{at}.0.weight"].T + files[f"{at}.0.bias"]
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return hidden @ files[f"{at}.2.weight"].T + files[f"{at}.2.bias"]


@pytest.fixture(scope="module")
def files(folder):
    return {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize(
    ("shape", "num_crops"), [((48, 48), 1), ((48, 48), 4), ((40, 70), 4), ((30, 90), 5), ((90, 20), 16)]
)
def test_tower_and_projector_do_what_the_files_say(folder, files, shape, num_crops):
    chat = phi3v.load(folder, num_crops=num_crops, device="cpu")
    views = phi3v.hd_transform(picture(shape[1], shape[0]), num_crops, 48)
    features = [tower_by_numpy(files, VISION, view.double().numpy()) for view in views.pixels]
    expected = joined_by_numpy(files, views, features, 6)
    with torch.inference_mode():
        (actual,) = chat.network.image_tokens([views])
    assert len(actual) == views.tokens(6)
    np.testing.assert_allclose(actual.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("original", [4096, 40], ids=["short factors", "long factors"])
def test_the_language_model_does_what_the_files_say(folder, files, original):
    """A text longer than the original length takes the long factors; a small original length shows that in
    few words.
    """
    c = json.loads((folder / "config.json").read_text()) | {
        "original_max_position_embeddings": original,
        "max_position_embeddings": 32 * original,
    }
    network, ids = phi3v.Phi3V(c), np.random.default_rng(0).integers(0, 300, 60)
    names = phi3v.official_names(network)
    network.load_state_dict(
        {names[official]: tensor for official, tensor in load_file(folder / "model.safetensors").items()}
    )
    with torch.inference_mode():
        actual = network.language(input_ids=torch.tensor(ids)[None]).logits[0]
    expected = phi3_by_numpy(files, c, files["model.embed_tokens.weight"][ids])
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-4)


def test_end_to_end_the_logits_are_those_of_the_files(folder, files, chat):
    c, (face,) = json.loads((folder / "config.json").read_text()), faces(1)
    before, after = chat.prompt(QUESTION.render())
    views = phi3v.hd_transform(face, 1, 48)
    seen_tokens = joined_by_numpy(
        files, views, [tower_by_numpy(files, VISION, views.pixels[0].double().numpy())], 6
    )
    words = files["model.embed_tokens.weight"]
    logits = phi3_by_numpy(files, c, np.concatenate([words[before], seen_tokens, words[after]]))
    expected = logits[-1] - np.log(np.exp(logits[-1] - logits[-1].max()).sum()) - logits[-1].max()
    replies = [reply for reply in QUESTION.replies if chat.lengths([reply])[0] == 1]
    first = [chat.tokenizer.encode(reply, add_special_tokens=False).ids[0] for reply in replies]
    assert len(replies) > 1
    np.testing.assert_allclose(
        chat.loglikelihood([face], QUESTION.render(), replies)[0], expected[first], atol=1e-4
    )


def test_both_parts_of_the_prompt_begin_with_the_mark_of_the_beginning(chat):
    before, after = chat.prompt("Who?")
    words = chat.tokenizer
    assert before[:2] == [1, words.token_to_id("<|user|>")]
    assert words.decode(before[2:]).endswith("\n")
    assert after[0] == 1
    assert words.token_to_id("<|end|>") in after
    assert after[-1] == words.token_to_id("<|assistant|>")  # the line break after this one belongs to it


# -- answers ------------------------------------------------------------------------------------------


def mixed(n=6):
    return [*faces(n - 2), picture(90, 48), picture(30, 60)]


def test_replies_scored_together_have_the_scores_of_separate_passes(chat):
    replies = ["happy", "neutral", "surprise", "A", "happy or sad"]
    together = chat.loglikelihood(mixed(), QUESTION.render(), replies)
    with torch.inference_mode():
        apart = by_full_passes(chat, mixed(), QUESTION.render(), replies)
    assert (np.ptp(together, axis=0) > 0.02).all()  # the faces matter
    np.testing.assert_allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("way", ["generate", "likelihood", "likelihood-normalized", "likelihood-calibrated"])
def test_neighbours_in_the_batch_and_padding_change_no_answer(folder, way, monkeypatch):
    monkeypatch.setattr(
        "fer_models.classifiers.vlm.base.MAX_REPLY_TOKENS", 8
    )  # random weights never stop by themselves
    model = VlmClassifier(phi3v.load(folder, num_crops=4, device="cpu"), QUESTION, way)
    whole = model.predict(mixed())
    for start in range(0, 6, 2):
        part = model.predict(mixed()[start : start + 2])
        assert part.text == whole.text[start : start + 2]
        assert part.status == whole.status[start : start + 2]
        np.testing.assert_allclose(part.probabilities, whole.probabilities[start : start + 2], atol=1e-5)


def test_the_cost_of_a_face_is_counted(chat):
    """Nearly all of it are the matrices of tower and language model, each applied to every token."""
    model = VlmClassifier(chat, QUESTION)
    tower = sum(
        p.numel() for name, p in chat.network.named_parameters() if p.ndim == 2 and "encoder.layers" in name
    )
    language = sum(
        p.numel()
        for name, p in chat.network.named_parameters()
        if p.ndim == 2 and "language.model.layers" in name
    )
    read, patches = chat._embed_prompts(faces(1), QUESTION.render(), 1)[0].shape[1], 37
    attention = (
        3 * 2 * patches**2 * VISION["hidden_size"] + 2 * 2 * read**2 * 32
    )  # layers, two products each, of every pair of tokens
    assert model.macs == pytest.approx(tower * patches + language * read + attention, rel=0.1)
    assert model.parameters == chat.parameters == sum(p.numel() for p in chat.network.parameters())


def test_an_answer_that_would_cross_the_change_of_positions_is_refused(tmp_path, chat):
    """What was kept of the prompt has the short factors; beyond the original length all of it would need the
    long ones.
    """
    length = chat._embed_prompts(faces(1), QUESTION.render(), 1)[0].shape[1]
    short = checkpoint(
        tmp_path, original_max_position_embeddings=length + 2, max_position_embeddings=100 * length
    )
    tight = phi3v.load(short, device="cpu")
    assert tight.loglikelihood(faces(1), QUESTION.render(), ["happy"]).shape == (1, 1)
    with pytest.raises(PredictionError, match=f"A prompt of {length} tokens leaves no room"):
        tight.generate(faces(1), QUESTION.render(), 3)


def test_an_answer_ends_at_its_end_mark(chat):
    words = chat.tokenizer
    ids = [
        *words.encode("happy", add_special_tokens=False).ids,
        words.token_to_id("<|end|>"),
        *words.encode("sad").ids,
    ]
    assert chat._decode(ids) == "happy"


# -- files --------------------------------------------------------------------------------------------


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
    with pytest.raises(WeightsError, match=r"lacks model-00002-of-00002\.safetensors"):
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
