"""The port of Phi-3.5-vision, each stage against an independent computation; the comparison with the original
code is in docs/phi-3.5-vision.md.
"""

import json
import math

import numpy as np
import pytest
import torch
from chats import VISION
from fakes import toy_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import functional as tv

from fer_models.classifiers.vlm import phi3v, questions

QUESTION = questions.load("one-word")


def faces(n=4):
    return toy_faces(n).faces(range(n))


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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


def mixed(n=6):
    return [*faces(n - 2), picture(90, 48), picture(30, 60)]
