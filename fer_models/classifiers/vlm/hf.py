"""Vision-language models of transformers (Qwen-VL, SmolVLM, LLaVA, InternVL, …).

Each is used with its own processor and chat template. Weights are read from safetensors only, and no code
that comes with a model is run.
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

from fer_models.artifacts import hub, safetensors_io
from fer_models.artifacts.model_folder import refuse_adapter, refuse_other_files, safetensors_files
from fer_models.artifacts.safetensors_io import pick_device
from fer_models.classifiers.torch_network import parameter_count
from fer_models.classifiers.vlm.kv_cache import cache_name
from fer_models.errors import WeightsError, reason_of
from fer_models.images import Face

#: The settings of a model that sample tokens; they are removed, because decoding is greedy here.
_SAMPLING_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")

#: Settings of a model that make decoding other than greedy; a penalty counts the words of the question too.
_GREEDY = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


class HfVlm:
    """A model of transformers as a `VlmBackend`."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        """`model` and `processor` are what transformers' Auto classes make of a folder."""
        self.model, self.processor, self.device = model.eval().to(device), processor, device
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        self._cache_name = cache_name(model)
        for setting in _SAMPLING_SETTINGS:
            setattr(model.generation_config, setting, None)

    @torch.inference_mode()
    def generate(self, faces: Sequence[Face], question: str, longest: int) -> list[str]:
        """See `VlmBackend.generate`."""
        inputs = self._inputs(faces, question)
        generated = self.model.generate(
            **inputs, max_new_tokens=longest, do_sample=False, pad_token_id=self._pad, **_GREEDY
        )
        replies = generated[:, inputs["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [str(text).strip() for text in texts]

    @torch.inference_mode()
    def loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """See `VlmBackend.loglikelihood`.

        Each prompt is processed once; the replies are scored with its key-value cache.
        """
        by_size = [list(group) for _, group in groupby(range(len(faces)), key=lambda i: faces[i].shape)]
        return np.concatenate(
            [self._loglikelihood([faces[i] for i in group], question, replies) for group in by_size]
        )

    def _loglikelihood(
        self, faces: Sequence[Face], question: str, replies: Sequence[str]
    ) -> NDArray[np.float64]:
        """Log-likelihoods for faces of one size.

        Their prompts are equally long and need no padding, so every model's positions are correct.
        """
        reply_ids = [self._tokenize(reply) for reply in replies]
        out = self.model(**self._inputs(faces, question), use_cache=True)
        first = out.logits[:, -1].float().log_softmax(-1)
        # Sums are made on the CPU: MPS has no float64.
        scores = first[:, [ids[0] for ids in reply_ids]].cpu().double()
        longest = max(map(len, reply_ids)) - 1
        if longest:
            n, cache = len(faces), out[self._cache_name]
            cache.batch_repeat_interleave(len(reply_ids))
            padding = [[self._pad] * (longest - len(ids) + 1) for ids in reply_ids]
            inputs, targets = (
                torch.tensor([ids[part] + pad for ids, pad in zip(reply_ids, padding, strict=True)])
                .to(self.device)
                .repeat(n, 1)
                for part in (slice(None, -1), slice(1, None))
            )
            lengths = torch.tensor([[len(ids) - 1] for ids in reply_ids], device=self.device)
            is_token = (torch.arange(longest, device=self.device) < lengths).repeat(n, 1)
            logits = self.model(input_ids=inputs, use_cache=True, **{self._cache_name: cache}).logits
            later = logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
            scores += (later.cpu().double() * is_token.cpu()).sum(1).reshape(n, len(reply_ids))
        loglikelihoods: NDArray[np.float64] = scores.numpy()
        return loglikelihoods

    def lengths(self, replies: Sequence[str]) -> NDArray[np.int64]:
        """See `VlmBackend.lengths`."""
        return np.array([len(self._tokenize(reply)) for reply in replies])

    def _tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _inputs(self, faces: Sequence[Face], question: str) -> Any:
        """The model's inputs for all faces and the question."""
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        prompt = self.processor.apply_chat_template(message, add_generation_prompt=True)
        images = [[Image.fromarray(face)] for face in faces]
        bos = self.tokenizer.bos_token
        # A template may write the start token itself: then the tokenizer must not add a second one.
        added = {"add_special_tokens": False} if bos and prompt.startswith(bos) else {}
        inputs = self.processor(
            text=[prompt] * len(faces), images=images, padding=True, return_tensors="pt", **added
        )
        return inputs.to(self.device, self.model.dtype)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return parameter_count(self.model)


def load(folder: Path, *, device: str = "auto", precision: str = "float32") -> HfVlm:
    """The model in a folder as transformers saves one.

    Args:
        folder: where the files are.
        device: as in `cnn.load`.
        precision: the type of weights and arithmetic: `float32`, `bf16` or `fp16`.

    Raises:
        WeightsError: transformers cannot load it without running third-party code, it holds an adapter, or it
            has no chat template.
        NotEnoughMemoryError: the weights need more memory than is free.
    """
    refuse_adapter(folder)
    refuse_other_files(folder)
    target, dtype = pick_device(device), safetensors_io.DTYPES[precision]
    safetensors_io.require_memory(
        safetensors_io.count_elements(safetensors_files(folder)), dtype, target, folder.name
    )
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    read_model: Any = AutoModelForImageTextToText.from_pretrained
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    settings: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    try:
        with hub.offline():
            processor: Any = AutoProcessor.from_pretrained(folder, **local)  # type: ignore[no-untyped-call]
            model, info = read_model(folder, **settings, **local)
    except Exception as error:  # transformers raises exceptions of many types for invalid files
        raise WeightsError(
            f"{folder} is no vision-language model that transformers loads by itself: {reason_of(error)}."
        ) from error
    missing = sorted(map(str, [*info["missing_keys"], *(info.get("mismatched_keys") or [])]))
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} tensors ({', '.join(missing[:3])}, …); they would be random. "
            "Fetch it anew."
        )
    if getattr(processor, "chat_template", None) is None:
        raise WeightsError(
            f"{folder} has no chat template: it is not made for questions. Use an instruction-tuned model."
        )
    return HfVlm(model, processor, target)
