"""Phi-3.5-vision (and Phi-3-vision): a port to current transformers, which has no class for it.

A CLIP encoder encodes a resized image and square crops of it; 2x2 neighbouring patches become one token of
the language model, which is Phi-3 mini. Weights are read from the files that Microsoft publishes
(`config.json`, `tokenizer.json`, safetensors); no code comes with them. How each step was found and compared
is in docs/phi-3.5-vision.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import DynamicCache

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.model_folder import read_object
from fer_models.artifacts.safetensors_io import pick_device
from fer_models.classifiers.torch_network import parameter_count
from fer_models.classifiers.vlm.kv_cache import cache_name
from fer_models.classifiers.vlm.phi3v_files import official_names, read_tensors, save
from fer_models.classifiers.vlm.phi3v_image import hd_transform
from fer_models.classifiers.vlm.phi3v_network import Phi3V
from fer_models.errors import PredictionError, UsageError, WeightsError, one_line
from fer_models.images import Face

__all__ = ["Phi3V", "Phi3VBackend", "hd_transform", "load", "official_names", "save"]

#: The special tokens that end a reply.
_STOPS = ("<|end|>", "<|endoftext|>")
#: The chat template before and after the image: the question stands between the last two.
_BEFORE, _AFTER = "<|user|>\n", ("\n", "<|end|>\n<|assistant|>\n")


class Phi3VBackend:
    """Phi-3.5-vision as a `VlmBackend`."""

    def __init__(self, network: Phi3V, tokenizer: Tokenizer, num_crops: int) -> None:
        self.network, self.tokenizer, self.num_crops = network.eval(), tokenizer, num_crops
        config = network.language.config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        self._stops = sorted({*ends, *(i for i in map(tokenizer.token_to_id, _STOPS) if i is not None)})
        self._start = config.bos_token_id
        self._cache_name = cache_name(network.language)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.sub_GN.device
        return device

    @torch.inference_mode()
    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """See `VlmBackend.generate`."""
        embeds, mask, _ = self._embed_prompts(faces, question, longest)
        generated = self.network.language.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=self._stops,
            pad_token_id=self.network.language.config.pad_token_id,
        )
        return [self._decode(ids) for ids in generated.tolist()]

    def _decode(self, ids: list[int]) -> str:
        end = next((i for i, token in enumerate(ids) if token in self._stops), len(ids))
        return str(self.tokenizer.decode(ids[:end])).strip()

    @torch.inference_mode()
    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """See `VlmBackend.loglikelihood`.

        Each prompt is processed once; all replies follow it in one pass, masked from each other.
        """
        language, cache = self.network.language, DynamicCache()
        reply_ids = [self._tokenize(reply) for reply in replies]
        embeds, mask, positions = self._embed_prompts(faces, question, max(map(len, reply_ids)))
        with_cache: dict[str, Any] = {self._cache_name: cache, "use_cache": True}
        out = language(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, logits_to_keep=1, **with_cache
        )
        first = out.logits[:, -1].float().log_softmax(-1)
        # Sums are made on the CPU: MPS has no float64.
        scores = first[:, [ids[0] for ids in reply_ids]].cpu().double()
        inputs = [token for ids in reply_ids for token in ids[:-1]]
        if inputs:
            device = mask.device
            reply = torch.tensor([k for k, ids in enumerate(reply_ids) for _ in ids[:-1]], device=device)
            step = torch.tensor([j for ids in reply_ids for j in range(len(ids) - 1)], device=device)
            targets = torch.tensor([token for ids in reply_ids for token in ids[1:]], device=device)
            logits = language(
                input_ids=torch.tensor(inputs, device=device).expand(len(faces), -1),
                attention_mask=_reply_mask(mask, reply, step, embeds.dtype),
                position_ids=mask.sum(1, keepdim=True) + step,
                **with_cache,
            ).logits
            targets = targets.expand(len(faces), -1)[..., None]
            later = logits.float().log_softmax(-1).gather(-1, targets)[..., 0]
            scores.index_add_(1, reply.cpu(), later.cpu().double())
        loglikelihoods: NDArray[np.float64] = scores.numpy()
        return loglikelihoods

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """See `VlmBackend.lengths`."""
        return np.array([len(self._tokenize(reply)) for reply in replies])

    def _tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, question: str) -> tuple[list[int], list[int]]:
        """The tokens before and after the image.

        The original tokenizes both parts separately, so each begins with the start token.
        """
        before, after = self._tokenize(_BEFORE), self._tokenize(f"{_AFTER[0]}{question}{_AFTER[1]}")
        return [self._start, *before], [self._start, *after]

    def _embed_prompts(
        self, faces: Sequence[Face], question: str, reply_length: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prompt embeddings (n, t, hidden), mask (n, t) and positions (n, t), padded on the left.

        A reply of `reply_length` tokens may follow.

        Raises:
            PredictionError: the reply would cross the length at which the rotary factors change, so that the
                cache of the prompt would be wrong.
        """
        before, after = map(self.network.embed_text, self.prompt(question))
        images = self.network.image_tokens(
            [hd_transform(face, self.num_crops, self.network.side) for face in faces]
        )
        prompts = [torch.cat([before, image, after]) for image in images]
        longest, limit = max(map(len, prompts)), self.network.long_context_start
        if limit is not None and longest <= limit < longest + reply_length:
            raise PredictionError(
                f"A prompt of {longest} tokens leaves no room for an answer under {limit}. "
                "Use fewer crops or a shorter question."
            )
        embeds = torch.stack([F.pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in prompts])
        sizes = torch.tensor([len(prompt) for prompt in prompts], device=embeds.device)
        mask = (torch.arange(longest, device=embeds.device) >= longest - sizes[:, None]).long()
        return embeds, mask, (mask.cumsum(1) - 1).clamp(min=0)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return parameter_count(self.network)


def _reply_mask(
    mask: torch.Tensor, reply: torch.Tensor, step: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Attention mask of the replies' tokens: the prompt, and the tokens before in the same reply.

    Returns:
        0 or the lowest number of `dtype`, to add to the attention's scores, (n, 1, tokens, prompt + tokens).
    """
    same_reply = (reply[:, None] == reply) & (step[:, None] >= step)
    prompt = mask.bool()[:, None, None].expand(-1, 1, len(reply), -1)
    allowed = torch.cat([prompt, same_reply.expand(len(mask), 1, -1, -1)], dim=-1)
    lowest = torch.finfo(dtype).min
    return torch.zeros(allowed.shape, dtype=dtype, device=mask.device).masked_fill(~allowed, lowest)


def load(
    folder: Path, *, num_crops: int = 1, device: str = "auto", precision: str = "float32"
) -> Phi3VBackend:
    """The model in a folder of the official layout: config.json, tokenizer.json, and *.safetensors.

    Args:
        folder: where the files are.
        num_crops: the largest number of crops of the enlarged image: 1 for faces of 48 pixels (313 tokens),
            4 or 16 as published.
        device: as in `cnn.load`.
        precision: the type of weights and arithmetic: `float32`, `bf16` or `fp16`.

    Raises:
        WeightsError: a file is missing, unsound, or not of this architecture; no weight stays random.
        NotEnoughMemoryError: the weights need more memory than is free.
    """
    if num_crops < 1:
        raise UsageError(f"num_crops must be at least 1, got {num_crops}.")
    target, dtype = pick_device(device), safetensors_io.DTYPES[precision]
    config = read_object(folder / "config.json")
    try:
        with torch.device("meta"):
            network = Phi3V(config)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises no subclass, and transformers' configs any exception
        reason = one_line(str(error), 200)
        raise WeightsError(f"{folder} is no Phi-3.5-vision ({reason}). Fetch it anew.") from error
    safetensors_io.require_memory(parameter_count(network), dtype, target, folder.name)
    network.load_state_dict(read_tensors(folder, network, dtype), assign=True)
    _restore_buffers(network)
    return Phi3VBackend(network.to(target), tokenizer, num_crops)


def _restore_buffers(network: Phi3V) -> None:
    """Compute the buffers that no file holds: rotary frequencies, and the encoder's table of positions."""
    model = network.language.model
    model.rotary_emb = type(model.rotary_emb)(config=network.language.config)
    for module in network.tower.modules():
        if "position_ids" in module._buffers:
            positions = torch.arange(cast(Any, module).num_positions).expand(1, -1)
            module.register_buffer("position_ids", positions, persistent=False)
