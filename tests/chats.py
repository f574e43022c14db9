"""Small random vision-language models of the real classes, in the layout of published files."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken

from fer_models.classifiers.vlm import phi3v
from fer_models.training.vlm import build_tokenizer as tokenizer

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 48,
    "patch_size": 8,
}


def config(
    vocabulary: int,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    vision: dict | None = VISION,
    **more,
) -> dict:
    """A config.json of the official form; `vision` None for the published image encoder."""
    half = hidden // heads // 2
    scaling = {
        "type": "su",
        "short_factor": [1 + 0.1 * i for i in range(half)],
        "long_factor": [1 + i for i in range(half)],
    }
    tower = {
        "image_dim_out": 1024,
        "model_name": "openai/clip-vit-large-patch14-336",
        "name": "clip_vision_model",
        "num_img_tokens": 144,
    }
    return {
        "model_type": "phi3_v",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": scaling,
        "sliding_window": 262144,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "img_processor": tower if vision is None else {**tower, "vision_config": vision},
        **more,
    }


def checkpoint(folder: Path, seed: int = 0, spread: float = 0.4, dtype: str = "float32", **options) -> Path:
    """A random checkpoint; `spread` makes its predictions differ from face to face."""
    words = tokenizer(120)
    model_config = config(words.get_vocab_size(), **options)
    torch.manual_seed(seed)
    network = phi3v.Phi3V(model_config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=spread * parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else spread)
    phi3v.save(network, model_config, words, folder, {}, dtype)
    return folder


_TEMPLATE = (
    "{% for message in messages %}<|user|>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PICTURE{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|end|>{% endfor %}<|assistant|>"
)


def llava(folder: Path, seed: int = 0) -> Path:
    """A random LLaVA as transformers saves one."""
    words = _fast(("<image>",))
    vision = transformers.CLIPVisionConfig(**VISION)
    text = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        initializer_range=0.3,
    )
    model_config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<image>")
    )
    pictures = transformers.CLIPImageProcessor(
        size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
    )
    processor = transformers.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_TEMPLATE.replace("PICTURE", "<image>"),
        num_additional_image_tokens=1,
    )
    return _saved(transformers.LlavaForConditionalGeneration, model_config, processor, folder, seed)


def qwen(folder: Path, seed: int = 0) -> Path:
    """A random Qwen2-VL, whose positions have three axes, as transformers saves one."""
    words = _fast(("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"))
    token_id = words.convert_tokens_to_ids
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    text |= {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        "pad_token_id": 0,
        "initializer_range": 0.3,
    }
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    marks = {"image_token_id": token_id("<|image_pad|>"), "video_token_id": token_id("<|video_pad|>")}
    marks |= {
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
    model_config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **marks)
    pictures = transformers.Qwen2VLImageProcessor(patch_size=8, min_pixels=32 * 32, max_pixels=64 * 64)
    template = _TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = transformers.Qwen2VLProcessor(
        pictures, words, transformers.Qwen2VLVideoProcessor(patch_size=8), chat_template=template
    )
    return _saved(transformers.Qwen2VLForConditionalGeneration, model_config, processor, folder, seed)


def _fast(more: tuple[str, ...]) -> transformers.PreTrainedTokenizerFast:
    words = tokenizer(120)
    words.add_special_tokens([AddedToken(token, rstrip=True, normalized=False) for token in more])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<unk>",
        unk_token="<unk>",
        extra_special_tokens={
            f"{mark.strip('<|>').removesuffix('_pad')}_token": mark
            for mark in more
            if mark in ("<image>", "<|image_pad|>", "<|video_pad|>")
        },
    )


def _saved(
    network: type,
    model_config: transformers.PreTrainedConfig,
    processor: transformers.ProcessorMixin,
    folder: Path,
    seed: int,
) -> Path:
    torch.manual_seed(seed)
    model = network(model_config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def by_full_passes(chat, pictures, question, replies):
    """Log-likelihoods by one pass per reply over the complete prompt, as `loglikelihood` computes faster."""
    columns = []
    for reply in replies:
        ids = chat.tokenizer.encode(reply, add_special_tokens=False).ids
        embeds, mask, _ = chat._embed_prompts(pictures, question, 1)
        n, start = len(pictures), embeds.shape[1]
        embeds = torch.cat([embeds, chat.network.embed_text(ids).expand(n, -1, -1)], dim=1)
        mask = torch.cat([mask, torch.ones(n, len(ids), dtype=torch.long)], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = chat.network.language(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions
        ).logits.log_softmax(-1)
        columns.append(sum(logits[:, start - 1 + j, token] for j, token in enumerate(ids)))
    return torch.stack(columns, dim=1).numpy()
