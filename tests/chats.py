"""Small models that read pictures and write, from the real classes: random networks in the files' own layout."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

from fer_models.classifiers import phi3v
from fer_models.classifiers.questions import QUESTIONS

SPECIAL = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>")


def tokenizer(size: int = 300) -> Tokenizer:
    """Built like Llama's, which Phi-3's is: pieces of words behind a mark for the space, bytes for what has none."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made_of = [q.written() for q in QUESTIONS.values()]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    made.train_from_iterator(made_of, trainers.BpeTrainer(vocab_size=size + 256, special_tokens=[*SPECIAL[:3], *alphabet], show_progress=False))
    made.add_special_tokens([AddedToken(token, rstrip=True, normalized=False) for token in SPECIAL[3:]])
    return made


def config(vocabulary: int, *, hidden: int = 32, layers: int = 2, heads: int = 4, factors: float | None = 1.0, vision: dict | None = None, **more) -> dict:
    """A config.json of the official form."""
    half = hidden // heads // 2
    scaling = None if factors is None else {"type": "su", "short_factor": [1.0 + 0.1 * i for i in range(half)], "long_factor": [factors + i for i in range(half)]}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 48, "patch_size": 8}
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
        "img_processor": {"image_dim_out": 1024, "name": "clip_vision_model", "num_img_tokens": 144, "vision_config": vision or small},
        **more,
    }


def checkpoint(folder: Path, seed: int = 0, spread: float = 0.4, dtype: str = "float32", **options) -> Path:
    """A random checkpoint; `spread` makes its answers differ from face to face."""
    words = tokenizer()
    own = config(words.get_vocab_size(), **options)
    torch.manual_seed(seed)
    network = phi3v.Phi3V(own)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=spread * parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else spread)
    phi3v.save(network, own, words, folder, {}, dtype)
    return folder
