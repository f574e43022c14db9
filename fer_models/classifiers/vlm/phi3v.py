"""Phi-3.5-vision (and Phi-3-vision) on today's transformers: a port, because no release of transformers has a
class for it.

A CLIP tower looks at the whole picture and at square crops of it; 2x2 neighbouring patches become one token
of the language model, which is Phi-3 mini. Tower and language model are transformers' own classes; what joins
them, the preparation of pictures and the prompt are here. Weights are read from the files that Microsoft
publishes (`config.json`, `tokenizer.json`, safetensors), by the names that the tensors have there; no code
comes with them. How each step was found and compared is in docs/phi-3.5-vision.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, DynamicCache, Phi3Config, Phi3ForCausalLM

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.json_io import parse_json, read_text
from fer_models.artifacts.safetensors_io import pick_device
from fer_models.classifiers.vlm.kv_cache import cache_name
from fer_models.errors import PredictionError, UsageError, WeightsError
from fer_models.images import Face

#: The mean and spread of the pixels that CLIP was trained on (Radford et al. 2021), which the pictures'
#: preparation uses.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: ViT-L/14 at 336 pixels, which Microsoft's config.json names without describing it.
_VIT_L_14_336 = dict(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=336,
    patch_size=14,
)
#: The fields of config.json that describe the language model.
_LANGUAGE = (
    *(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_act",
    ),
    *(
        "max_position_embeddings",
        "original_max_position_embeddings",
        "rms_norm_eps",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    ),
)
#: How the files call what is not the language model's.
_JOINT, _TOWER = "model.vision_embed_tokens.", "model.vision_embed_tokens.img_processor.vision_model."
#: What some files hold beside: a table of 0, 1, 2, …, and the words' embeddings once more, by the name under
#: which the tower shares them.
_KNOWN = (".position_ids", "vision_embed_tokens.wte.weight")
#: The special tokens that end an answer.
_STOPS = ("<|end|>", "<|endoftext|>")
#: Between the picture's place and what stands before and after it.
_BEFORE, _AFTER = "<|user|>\n", ("\n", "<|end|>\n<|assistant|>\n")


# -- pictures -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Views:
    """A picture as the tower sees it.

    Attributes:
        pixels: float32 (1 + down * across, 3, side, side), normalised: the whole picture, then its crops row
            by row. Where there is only one crop it is the whole picture, and stands here once.
        down, across: how many crops.
    """

    pixels: torch.Tensor
    down: int
    across: int

    def tokens(self, patches: int) -> int:
        """How many tokens it takes where a view has `patches` x `patches` patches: two by two are one token,
        rows end with another.
        """
        side = patches // 2
        return (self.down * self.across + 1) * side * side + 1 + (self.down + 1) * side


def views(face: Face, num_crops: int, side: int) -> Views:
    """The HD transform: enlarge the picture until at most `num_crops` squares of `side` pixels cover it, and
    pad it with white.

    As the original does it: Pillow's bilinear filter for the enlargement, torch's bicubic one for the view of
    the whole.
    """
    tall = face.shape[0] > face.shape[1]
    picture = _enlarged(face.transpose(1, 0, 2) if tall else face, num_crops, side)
    picture = picture.transpose(1, 0, 2) if tall else picture
    pixels = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255.0
    pixels = (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
    down, across = picture.shape[0] // side, picture.shape[1] // side
    crops = pixels.reshape(3, down, side, across, side).permute(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
    if len(crops) == 1:
        return Views(crops, 1, 1)
    whole = F.interpolate(pixels[None], size=(side, side), mode="bicubic")
    return Views(torch.cat([whole, crops]), down, across)


def _enlarged(wide: NDArray[np.uint8], num_crops: int, side: int) -> NDArray[np.uint8]:
    """A picture at least as wide as high, at a multiple of `side` in both directions."""
    ratio, scale = wide.shape[1] / wide.shape[0], 1
    while (scale + 1) * math.ceil((scale + 1) / ratio) <= num_crops:
        scale += 1
    width = scale * side
    height = max(1, int(width / ratio))
    resized = np.asarray(Image.fromarray(wide).resize((width, height), Image.Resampling.BILINEAR))
    missing = -height % side
    return np.pad(resized, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)), constant_values=255)


# -- the network --------------------------------------------------------------------------------------


class Phi3V(nn.Module):
    """The network: faces' views and words in, the next word out."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the content of config.json."""
        super().__init__()
        vision = config["img_processor"].get("vision_config", _VIT_L_14_336)
        self.tower = CLIPVisionModel(CLIPVisionConfig(**vision))
        self.language: Any = cast(Any, Phi3ForCausalLM)(_language(config))  # typed in some releases only
        merged = 4 * vision["hidden_size"]
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, merged))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, merged))
        hidden = config["hidden_size"]
        self.img_projection = nn.Sequential(nn.Linear(merged, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        #: The length beyond which the positions' factors are others; None where there is one set of them.
        self.changes_at: int | None = (
            config["original_max_position_embeddings"] if config.get("rope_scaling") else None
        )
        self.side, self.patches = (
            int(vision["image_size"]),
            int(vision["image_size"]) // int(vision["patch_size"]),
        )

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """The features of views (n, 3, side, side): what leaves the tower's last layer but one, without the
        class token; (n, patches**2, d).
        """
        out = self.tower(pixels.to(self.sub_GN.device, self.sub_GN.dtype), output_hidden_states=True)
        features: torch.Tensor = out.hidden_states[-2][:, 1:]
        return features

    def image_tokens(self, pictures: Sequence[Views]) -> list[torch.Tensor]:
        """The language model's tokens for each picture: (tokens, hidden)."""
        each = torch.split(
            self.encode_image(torch.cat([picture.pixels for picture in pictures])),
            [len(picture.pixels) for picture in pictures],
        )
        rows = [self._rows(own, picture) for own, picture in zip(each, pictures, strict=True)]
        return list(torch.split(self.img_projection(torch.cat(rows)), [len(own) for own in rows]))

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """The language model's tokens for pictures of one crop, given by its features (n, patches**2, d): (n,
        tokens, hidden).
        """
        lines = torch.stack([self._rows(own[None], Views(own, 1, 1)) for own in features])
        tokens: torch.Tensor = self.img_projection(lines)
        return tokens

    def _rows(self, features: torch.Tensor, picture: Views) -> torch.Tensor:
        """The crops, a separator, the whole; each row of merged patches ends with a token of its own."""
        crops = self._newlines(
            self._merged(features[-picture.down * picture.across :], picture.down, picture.across)
        )
        whole = self._newlines(self._merged(features[:1], 1, 1))
        return torch.cat([crops, self.glb_GN[0], whole])

    def _merged(self, features: torch.Tensor, down: int, across: int) -> torch.Tensor:
        """Patches (down * across, patches**2, d) as one map of 2x2 neighbours: (down * patches / 2, across *
        patches / 2, 4 d).
        """
        half, d = self.patches // 2, features.shape[-1]
        grid = features.reshape(
            down, across, half, 2, half, 2, d
        )  # crop row, crop column, row, within, column, within
        return grid.permute(0, 2, 1, 4, 3, 5, 6).reshape(down * half, across * half, 4 * d)

    def _newlines(self, grid: torch.Tensor) -> torch.Tensor:
        ends = self.sub_GN[0].expand(len(grid), 1, -1)
        return torch.cat([grid, ends], dim=1).flatten(0, 1)

    def embed_text(self, ids: Sequence[int]) -> torch.Tensor:
        """The embeddings of words: (tokens, hidden)."""
        embedded: torch.Tensor = self.language.model.embed_tokens(
            torch.tensor(ids, device=self.sub_GN.device)
        )
        return embedded


def _language(config: dict[str, Any]) -> Phi3Config:
    """The language model's part of config.json, in the words of today's transformers.

    The sliding window is left out: it is longer (262,144) than the longest text that the positions allow
    (131,072), so it cuts nothing.
    """
    own = {key: config[key] for key in _LANGUAGE if key in config}
    rope: dict[str, Any] = {"rope_theta": config.get("rope_theta", 10_000.0), "rope_type": "default"}
    scaling = config.get("rope_scaling")
    if (
        scaling is not None
    ):  # `su` in Microsoft's files, `longrope` elsewhere; cos and sin are scaled by sqrt(1 + ln(factor) / ln(original))
        if scaling.get("type", scaling.get("rope_type")) not in ("su", "longrope"):
            raise ValueError(
                f"its positions are scaled by {scaling.get('type')!r}; only su and longrope are known"
            )
        original = config["original_max_position_embeddings"]
        rope |= {
            "rope_type": "longrope",
            "original_max_position_embeddings": original,
            "factor": config["max_position_embeddings"] / original,
        }
        rope |= {key: scaling[key] for key in ("short_factor", "long_factor")}
    return Phi3Config(**own, rope_parameters=rope, tie_word_embeddings=False, sliding_window=None)


# -- the model as a partner in a talk -----------------------------------------------------------------


class Phi3VBackend:
    """See `interview.Chat`."""

    def __init__(self, network: Phi3V, tokenizer: Tokenizer, num_crops: int) -> None:
        self.network, self.tokenizer, self.num_crops = network.eval(), tokenizer, num_crops
        config = network.language.config
        own = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        self._stops = sorted({*own, *(i for i in map(tokenizer.token_to_id, _STOPS) if i is not None)})
        self._start = config.bos_token_id
        self._cache_name = cache_name(network.language)

    @torch.inference_mode()
    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """See `interview.Chat.write`."""
        embeds, mask, _ = self._asked(faces, question, longest)
        pad = self.network.language.config.pad_token_id
        written = self.network.language.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=self._stops,
            pad_token_id=pad,
        )
        return [self._said(ids) for ids in written.tolist()]

    def _said(self, ids: list[int]) -> str:
        end = next((i for i, token in enumerate(ids) if token in self._stops), len(ids))
        return str(self.tokenizer.decode(ids[:end])).strip()

    @torch.inference_mode()
    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """See `interview.Chat.score`. Each face and the question are read once; all replies follow them in
        one pass, unseen by each other.
        """
        language, told, cache = self.network.language, [self._ids(reply) for reply in replies], DynamicCache()
        embeds, mask, positions = self._asked(faces, question, max(map(len, told)))
        with_cache: dict[str, Any] = {self._cache_name: cache, "use_cache": True}
        out = language(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, logits_to_keep=1, **with_cache
        )
        first = out.logits[:, -1].float().log_softmax(-1)
        found = first[:, [ids[0] for ids in told]].double()
        fed = [token for ids in told for token in ids[:-1]]
        if fed:
            reply = torch.tensor([k for k, ids in enumerate(told) for _ in ids[:-1]], device=mask.device)
            step = torch.tensor([j for ids in told for j in range(len(ids) - 1)], device=mask.device)
            wanted = torch.tensor([token for ids in told for token in ids[1:]], device=mask.device)
            logits = language(
                input_ids=torch.tensor(fed, device=mask.device).expand(len(faces), -1),
                attention_mask=_seen(mask, reply, step, embeds.dtype),
                position_ids=mask.sum(1, keepdim=True) + step,
                **with_cache,
            ).logits
            following = (
                logits.float().log_softmax(-1).gather(-1, wanted.expand(len(faces), -1)[..., None])[..., 0]
            )
            found.index_add_(1, reply, following.double())
        scores: NDArray[np.float64] = found.cpu().numpy()
        return scores

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """See `interview.Chat.lengths`."""
        return np.array([len(self._ids(reply)) for reply in replies])

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str) -> tuple[list[int], list[int]]:
        """What stands before and after the picture. The original reads both parts by themselves, so that each
        has a mark of the beginning.
        """
        return [self._start, *self._ids(_BEFORE)], [
            self._start,
            *self._ids(f"{_AFTER[0]}{question}{_AFTER[1]}"),
        ]

    def _asked(
        self, faces: Sequence[Face], question: str, answer: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The prompts of all faces, padded on the left: embeddings (n, t, hidden), mask (n, t), positions (n,
        t).

        Args:
            answer: how many tokens may follow.

        Raises:
            PredictionError: the answer would cross the length at which the model's positions change: what was
                kept of the prompt would be wrong.
        """
        before, after = map(self.network.embed_text, self.prompt(question))
        pictures = self.network.image_tokens(
            [views(face, self.num_crops, self.network.side) for face in faces]
        )
        prompts = [torch.cat([before, picture, after]) for picture in pictures]
        room, change = max(map(len, prompts)), self.network.changes_at
        if change is not None and room <= change < room + answer:
            raise PredictionError(
                f"A prompt of {room} tokens leaves no room for an answer under {change}. Ask with fewer crops or a shorter question."
            )
        embeds = torch.stack([F.pad(prompt, (0, 0, room - len(prompt), 0)) for prompt in prompts])
        sizes = torch.tensor([len(prompt) for prompt in prompts], device=embeds.device)
        mask = (torch.arange(room, device=embeds.device) >= room - sizes[:, None]).long()
        return embeds, mask, (mask.cumsum(1) - 1).clamp(min=0)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())


def _seen(mask: torch.Tensor, reply: torch.Tensor, step: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What each token of the replies may look at, added to the attention's scores: the prompt, and what
    stands before it in its own reply.

    Returns:
        0 or the lowest number of `dtype`, (n, 1, tokens, prompt + tokens).
    """
    own = (reply[:, None] == reply) & (step[:, None] >= step)
    allowed = torch.cat(
        [mask.bool()[:, None, None].expand(-1, 1, len(reply), -1), own.expand(len(mask), 1, -1, -1)], dim=-1
    )
    return torch.zeros(allowed.shape, dtype=dtype, device=mask.device).masked_fill(
        ~allowed, torch.finfo(dtype).min
    )


# -- from files ---------------------------------------------------------------------------------------


def load(
    folder: Path, *, num_crops: int = 1, device: str = "auto", precision: str = "float32"
) -> Phi3VBackend:
    """The model in a folder of the official layout: config.json, tokenizer.json, and *.safetensors.

    Args:
        num_crops: how many crops of the enlarged picture are looked at, at most: 1 for faces of 48 pixels
            (313 tokens), 4 or 16 as published.
        device: as in `cnn.load`. precision: what weights and arithmetic are in: `float32`, `bf16`, `fp16`.

    Raises:
        WeightsError: a file is missing, unsound, or not of this architecture; nothing is left to random
            weights.
        PredictionError: the weights need more memory than is free.
    """
    if num_crops < 1:
        raise UsageError(f"num_crops must be at least 1, got {num_crops}.")
    target, dtype = pick_device(device), safetensors_io.DTYPES[precision]
    config = _json(folder / "config.json")
    try:
        with torch.device("meta"):
            network = Phi3V(config)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (
        Exception
    ) as error:  # tokenizers raises nothing finer, and transformers' configs whatever they like
        raise WeightsError(
            f"{folder} is no Phi-3.5-vision ({' '.join(str(error).split())[:200]}). Fetch it anew."
        ) from error
    safetensors_io.require_memory(sum(p.numel() for p in network.parameters()), dtype, target, folder.name)
    network.load_state_dict(_tensors(folder, network, dtype), assign=True)
    _restore_buffers(network)
    return Phi3VBackend(network.to(target), tokenizer, num_crops)


def save(
    network: Phi3V,
    config: dict[str, Any],
    tokenizer: Tokenizer,
    folder: Path,
    metadata: dict[str, str],
    dtype: str = "bf16",
) -> None:
    """Write a network as `load` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    tensors = {
        official: state[own].to(safetensors_io.DTYPES[dtype])
        for official, own in official_names(network).items()
    }
    safetensors_io.write(tensors, folder / "model.safetensors", metadata)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those its index names, or all there are.

    Raises:
        WeightsError: there are none, or one that the index names is missing.
    """
    index = folder / "model.safetensors.index.json"
    found = (
        sorted({folder / str(name) for name in _json(index)["weight_map"].values()})
        if index.exists()
        else sorted(folder.glob("*.safetensors"))
    )
    absent = [path.name for path in found if not path.exists()]
    if absent or not found:
        raise WeightsError(f"{folder} lacks {', '.join(absent) or 'its safetensors files'}. Fetch it anew.")
    return found


def official_names(network: Phi3V) -> dict[str, str]:
    """Every tensor of the network: its name in the files -> its name here."""
    names = {}
    for own in network.state_dict():
        part, _, rest = own.partition(".")
        official = {"language": rest, "tower": _TOWER + rest.removeprefix("vision_model.")}.get(
            part, _JOINT + own
        )
        names[official] = own
    return names


def _tensors(folder: Path, network: Phi3V, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors in the files, by their names here; mapped from disk where their type is the wanted one
    already.
    """
    names, shapes = (
        official_names(network),
        {name: tensor.shape for name, tensor in network.state_dict().items()},
    )
    state, foreign = {}, []
    for path in files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    if name in names:
                        state[names[name]] = file.get_tensor(name).to(dtype)
                    elif not name.endswith(_KNOWN):
                        foreign.append(name)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} cannot be read as safetensors ({error}). Fetch it anew.") from error
    absent = [name for name, own in names.items() if own not in state]
    found = {name: own for name, own in names.items() if own in state and state[own].shape != shapes[own]}
    misshapen = [f"{name} {tuple(state[own].shape)} for {tuple(shapes[own])}" for name, own in found.items()]
    for what, which in (
        ("lacks", absent),
        ("has, unexpectedly,", foreign),
        ("has in other shapes", misshapen),
    ):
        if which:
            more = f" and {len(which) - 3} more" if len(which) > 3 else ""
            raise WeightsError(
                f"{folder} {what} {', '.join(which[:3])}{more}. It is no Phi-3.5-vision, or not all of it; fetch it anew."
            )
    return state


def _restore_buffers(network: Phi3V) -> None:
    """Make again what is in no file: the frequencies of the rotary positions, and the tower's table of
    positions.
    """
    model = network.language.model
    model.rotary_emb = type(model.rotary_emb)(config=network.language.config)
    for module in network.tower.modules():
        if "position_ids" in module._buffers:
            module.register_buffer(
                "position_ids", torch.arange(cast(Any, module).num_positions).expand(1, -1), persistent=False
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(parse_json(read_text(path)))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({' '.join(str(error).split())[:150]}). Fetch the model anew."
        ) from error
