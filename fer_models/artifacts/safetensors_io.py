"""Tensors in safetensors files: read with checks, written whole or not at all, packed to 8 bits per channel
for shipping.

And what goes with them: whether they fit a network, and which device they go to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from fer_models.artifacts.device import free_memory
from fer_models.errors import PredictionError, UsageError, WeightsError, one_line

#: What precisions are called here, for models whose weights are kept in them.
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SCALE = "::scale"
#: What a forward pass takes beside the weights, as a share of them: a guess, for a warning before it is too
#: late.
_BESIDE = 0.05


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file, unpacked to float32, and its metadata.

    Raises:
        WeightsError: not a sound safetensors file.
    """
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".pkl"):
        raise WeightsError(
            f"{path} looks like a pickle, which can run code when it is read. Convert it once, where you trust it: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')."
        )
    try:
        with safe_open(path, framework="pt") as file:
            found, said = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 (not a dict)
    except (
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # the last ones: a type of numbers that torch lacks
        raise WeightsError(
            f"{path} cannot be read as safetensors ({one_line(str(error))}). Get a sound copy."
        ) from error
    try:
        state = dequantize(found)
    except RuntimeError as error:  # scales of another shape than their tensor
        raise WeightsError(
            f"{path} holds tensors that cannot be unpacked ({one_line(str(error))}). Get a sound copy."
        ) from error
    if foreign := [
        name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()
    ]:
        raise WeightsError(
            f"{path}: {len(foreign)} tensors hold values that are no numbers ({', '.join(foreign[:3])}). Get a sound copy."
        )
    return state, said


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file; a crash leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, metadata)
    part.chmod(0o644)  # safetensors writes for the owner alone, which an installed package's file must not be
    part.replace(path)


def quantize(tensors: dict[str, torch.Tensor], bits: int) -> dict[str, torch.Tensor]:
    """Smaller tensors for shipping: matrices and kernels in 16-bit floats, or in 8-bit integers with one
    scale per output channel.

    Vectors (biases, batch-norm statistics) stay as they are: they are small and sensitive.

    Args:
        bits: 16 or 8.
    """
    if bits == 16:
        return {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in tensors.items()}
    packed = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim < 2:
            packed[name] = tensor
            continue
        flat = tensor.float().flatten(1)
        scale = flat.abs().amax(dim=1).clamp(min=1e-12) / 127.0
        packed[name] = (flat / scale[:, None]).round().clamp(-127, 127).to(torch.int8).reshape(tensor.shape)
        packed[name + _SCALE] = scale
    return packed


def dequantize(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`pack` undone, as far as it can be: every float tensor in float32."""
    out = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALE):
            continue
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            tensor = tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
        out[name] = tensor.float() if tensor.is_floating_point() else tensor
    return out


def count_elements(files: Sequence[Path]) -> int:
    """How many numbers safetensors files hold, read from their headers.

    Raises:
        WeightsError: one is not a sound safetensors file.
    """
    total = 0
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"{path} cannot be read as safetensors ({one_line(str(error))}). Get a sound copy."
            ) from error
    return total


def require_memory(parameters: int, dtype: torch.dtype, device: torch.device, name: str) -> None:
    """Refuse a model that has no room, before it is loaded.

    Raises:
        PredictionError: its weights in `dtype` need more memory than is free on `device`.
    """
    needed, free = parameters * dtype.itemsize * (1 + _BESIDE), free_memory(device.type)
    if free is not None and needed > free:
        less = " With --precision bf16 it takes half of that." if dtype.itemsize > 2 else ""
        raise PredictionError(
            f"{name} needs {needed / 1e9:.1f} GB on {device.type}, {free / 1e9:.1f} GB are free.{less}"
        )


def check_state_dict(network: nn.Module, state: dict[str, torch.Tensor], name: str, path: Path) -> None:
    """Raise WeightsError unless `state`, read from `path`, holds exactly the tensors of `network`, called
    `name`.
    """
    own = network.state_dict()
    missing, unexpected = [k for k in own if k not in state], [k for k in state if k not in own]
    if missing or unexpected:
        named = "; ".join(
            f"{len(keys)} tensors {what} ({', '.join(keys[:3])}, …)"
            for keys, what in ((missing, "missing"), (unexpected, "unexpected"))
            if keys
        )
        raise WeightsError(f"{path} does not fit {name}: {named}. Check the network's name.")
    for key, tensor in state.items():
        if own[key].is_floating_point() != tensor.is_floating_point():
            raise WeightsError(
                f"{path} does not fit {name}: {key} holds {tensor.dtype}, the network wants {own[key].dtype}."
            )
        if own[key].shape != tensor.shape:
            raise WeightsError(
                f"{path} does not fit {name}: {key} has shape {tuple(tensor.shape)}, the network wants {tuple(own[key].shape)}."
            )


def pick_device(name: str) -> torch.device:
    """The torch device called `name`; `auto` is the best one here.

    Raises:
        UsageError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (
        name == "mps" and not torch.backends.mps.is_available()
    ):
        raise UsageError(f"--device {name}: torch finds none on this machine. Use --device auto or cpu.")
    return torch.device(name)
