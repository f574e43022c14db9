"""Network of Phi-3.5-vision: CLIP image encoder, projection and Phi-3 language model.

The encoder and the language model are transformers' own classes; what joins them is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Phi3Config, Phi3ForCausalLM

from fer_models.classifiers.vlm.phi3v_image import Views

#: ViT-L/14 at 336 pixels, which Microsoft's config.json names without describing it.
_VIT_L_14_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
#: The fields of config.json that describe the language model.
_LANGUAGE_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "original_max_position_embeddings",
    "rms_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


class Phi3V(nn.Module):
    """Network of Phi-3.5-vision: views of images and text tokens in, logits of the next token out."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the content of config.json."""
        super().__init__()
        vision = config["img_processor"].get("vision_config", _VIT_L_14_336)
        self.tower = CLIPVisionModel(CLIPVisionConfig(**vision))
        self.language: Any = cast(Any, Phi3ForCausalLM)(_language_config(config))  # typed in some releases
        merged = 4 * vision["hidden_size"]
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, merged))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, merged))
        hidden = config["hidden_size"]
        self.img_projection = nn.Sequential(nn.Linear(merged, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        #: The number of tokens beyond which the rotary factors are others; None where there is one set.
        self.long_context_start: int | None = (
            config["original_max_position_embeddings"] if config.get("rope_scaling") else None
        )
        self.side = int(vision["image_size"])
        self.patches = self.side // int(vision["patch_size"])

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """The features of views (n, 3, side, side): (n, patches**2, d).

        They are the output of the encoder's last layer but one, without the class token.
        """
        out = self.tower(pixels.to(self.sub_GN.device, self.sub_GN.dtype), output_hidden_states=True)
        features: torch.Tensor = out.hidden_states[-2][:, 1:]
        return features

    def image_tokens(self, images: Sequence[Views]) -> list[torch.Tensor]:
        """The language model's tokens for each image: (tokens, hidden)."""
        features = self.encode_image(torch.cat([views.pixels for views in images]))
        by_image = torch.split(features, [len(views.pixels) for views in images])
        rows = [self._rows(part, views) for part, views in zip(by_image, images, strict=True)]
        return list(torch.split(self.img_projection(torch.cat(rows)), [len(part) for part in rows]))

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """The language model's tokens for images of one crop, from their features.

        Args:
            features: (n, patches**2, d).

        Returns:
            (n, tokens, hidden).
        """
        rows = torch.stack([self._rows(part[None], Views(part, 1, 1)) for part in features])
        tokens: torch.Tensor = self.img_projection(rows)
        return tokens

    def _rows(self, features: torch.Tensor, views: Views) -> torch.Tensor:
        """Crops, separator, complete image; each row of merged patches ends with a token of its own."""
        crops = self._merge_patches(features[-views.down * views.across :], views.down, views.across)
        complete = self._merge_patches(features[:1], 1, 1)
        return torch.cat([self._end_rows(crops), self.glb_GN[0], self._end_rows(complete)])

    def _merge_patches(self, features: torch.Tensor, down: int, across: int) -> torch.Tensor:
        """Merge 2x2 neighbouring patches of `down` x `across` crops.

        `features` are (down * across, patches**2, d); the result is
        (down * patches / 2, across * patches / 2, 4 d).
        """
        half, d = self.patches // 2, features.shape[-1]
        # crop row, crop column, row, within, column, within
        grid = features.reshape(down, across, half, 2, half, 2, d)
        return grid.permute(0, 2, 1, 4, 3, 5, 6).reshape(down * half, across * half, 4 * d)

    def _end_rows(self, grid: torch.Tensor) -> torch.Tensor:
        ends = self.sub_GN[0].expand(len(grid), 1, -1)
        return torch.cat([grid, ends], dim=1).flatten(0, 1)

    def embed_text(self, ids: Sequence[int]) -> torch.Tensor:
        """The embeddings of text tokens: (tokens, hidden)."""
        tokens = torch.tensor(ids, device=self.sub_GN.device)
        embeddings: torch.Tensor = self.language.model.embed_tokens(tokens)
        return embeddings


def _language_config(config: dict[str, Any]) -> Phi3Config:
    """The language model's part of config.json, by the names of current transformers.

    The sliding window is left out: it is longer (262,144) than the longest text that the positions allow
    (131,072), so it cuts nothing.
    """
    fields = {key: config[key] for key in _LANGUAGE_FIELDS if key in config}
    rope: dict[str, Any] = {"rope_theta": config.get("rope_theta", 10_000.0), "rope_type": "default"}
    scaling = config.get("rope_scaling")
    # `su` in Microsoft's files, `longrope` elsewhere: cos and sin are scaled by
    # sqrt(1 + ln(factor) / ln(original)).
    if scaling is not None:
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
    return Phi3Config(**fields, rope_parameters=rope, tie_word_embeddings=False, sliding_window=None)
