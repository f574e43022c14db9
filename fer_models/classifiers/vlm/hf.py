"""Vision-language models that transformers knows (Qwen-VL, SmolVLM, LLaVA, InternVL, …), asked through their
own processor and chat template.

Nothing but safetensors is read, and no code that comes with a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.safetensors_io import pick_device
from fer_models.classifiers.vlm.kv_cache import cache_name
from fer_models.errors import WeightsError
from fer_models.images import Face

#: What a model's own settings say about drawing tokens at random; the likeliest one is wanted here.
_OF_CHANCE = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


class HfVlm:
    """See `interview.Chat`."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        """`model` and `processor` are what transformers' Auto classes make of a folder."""
        self.model, self.processor, self.device = model.eval().to(device), processor, device
        self.words = getattr(processor, "tokenizer", processor)
        self.words.padding_side = "left"
        self._cache_name = cache_name(model)
        for setting in _OF_CHANCE:
            setattr(model.generation_config, setting, None)

    @torch.inference_mode()
    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """See `interview.Chat.write`."""
        asked = self._asked(faces, question)
        written = self.model.generate(
            **asked, max_new_tokens=longest, do_sample=False, pad_token_id=self._pad
        )
        said = self.words.batch_decode(written[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        return [str(text).strip() for text in said]

    @torch.inference_mode()
    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """See `interview.Chat.score`. Each face and the question are read once; the replies follow from what
        was kept of that.
        """
        alike = [list(group) for _, group in groupby(range(len(faces)), key=lambda i: faces[i].shape)]
        return np.concatenate(
            [self._loglikelihood([faces[i] for i in group], question, replies) for group in alike]
        )

    def _loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """`score` for faces of one size, whose prompts are equally long: nothing is padded, so every model
        counts positions rightly.
        """
        asked, told = self._asked(faces, question), [self._ids(reply) for reply in replies]
        out = self.model(**asked, use_cache=True)
        first = out.logits[:, -1].float().log_softmax(-1)
        found = first[:, [ids[0] for ids in told]].double()
        longest = max(map(len, told)) - 1
        if longest:
            n, cache = len(faces), out[self._cache_name]
            cache.batch_repeat_interleave(len(told))
            fed = torch.tensor(
                [ids[:-1] + [self._pad] * (longest - len(ids) + 1) for ids in told], device=self.device
            )
            wanted = torch.tensor(
                [ids[1:] + [self._pad] * (longest - len(ids) + 1) for ids in told], device=self.device
            )
            real = torch.arange(longest, device=self.device) < torch.tensor(
                [[len(ids) - 1] for ids in told], device=self.device
            )
            logits = self.model(
                input_ids=fed.repeat(n, 1), use_cache=True, **{self._cache_name: cache}
            ).logits
            following = logits.float().log_softmax(-1).gather(-1, wanted.repeat(n, 1)[..., None])[..., 0]
            found += (following.double() * real.repeat(n, 1)).sum(1).reshape(n, len(told))
        scores: NDArray[np.float64] = found.cpu().numpy()
        return scores

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """See `interview.Chat.lengths`."""
        return np.array([len(self._ids(reply)) for reply in replies])

    def _ids(self, text: str) -> list[int]:
        return list(self.words(text, add_special_tokens=False)["input_ids"])

    @property
    def _pad(self) -> int:
        return int(
            self.words.pad_token_id if self.words.pad_token_id is not None else self.words.eos_token_id
        )

    def _asked(self, faces: Sequence[Face], question: str) -> Any:
        """The prompts of all faces as the model takes them."""
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        prompt = self.processor.apply_chat_template(message, add_generation_prompt=True)
        pictures = [[Image.fromarray(face)] for face in faces]
        asked = self.processor(text=[prompt] * len(faces), images=pictures, padding=True, return_tensors="pt")
        return asked.to(self.device, self.model.dtype)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.model.parameters())


def load(folder: Path, *, device: str = "auto", precision: str = "float32") -> HfVlm:
    """The model in a folder as transformers saves one.

    Args:
        device: as in `cnn.load`. precision: what weights and arithmetic are in: `float32`, `bf16`, `fp16`.

    Raises:
        WeightsError: transformers cannot make a model of it without running foreign code, or it is not asked
            in a chat.
        PredictionError: the weights need more memory than is free.
    """
    target, dtype = pick_device(device), safetensors_io.DTYPES[precision]
    safetensors_io.require_memory(
        safetensors_io.count_elements(sorted(folder.glob("*.safetensors"))), dtype, target, folder.name
    )
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    read_model: Any = AutoModelForImageTextToText.from_pretrained
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, **local)  # type: ignore[no-untyped-call]
        model, told = read_model(folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **local)
    except Exception as error:  # whatever its files make transformers stumble over
        raise WeightsError(
            f"{folder} is no vision-language model that transformers loads by itself: {_brief(error)}"
        ) from error
    if told["missing_keys"] or told.get("mismatched_keys"):
        absent = sorted(map(str, [*told["missing_keys"], *told.get("mismatched_keys", [])]))
        raise WeightsError(
            f"{folder} lacks {len(absent)} tensors ({', '.join(absent[:3])}, …); they would be random. Fetch it anew."
        )
    if getattr(processor, "chat_template", None) is None:
        raise WeightsError(
            f"{folder} has no chat template: it is not made for questions. Ask an instruction-tuned model."
        )
    return HfVlm(model, processor, target)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
