"""Tensors in safetensors files: checked on reading, written atomically, quantized for shipping.

Also the checks that a network needs before it loads them: shapes, free memory and device.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from fer_models.artifacts.atomic_write import atomic_write
from fer_models.artifacts.device import free_memory
from fer_models.errors import NotEnoughMemoryError, UsageError, WeightsError, one_line

#: Precisions by name, for models whose weights are loaded in them.
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SCALE = "::scale"
#: Memory of a forward pass as a share of the weights; an estimate for an early error.
_OVERHEAD = 0.05


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors of a safetensors file, dequantized to float32, and its metadata.

    Raises:
        WeightsError: not a valid safetensors file.
    """
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".pkl"):
        raise WeightsError(
            f"{path} looks like a pickle, which can run code when it is read. If you trust it, convert it: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')."
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except _INVALID as error:
        raise _invalid_file(path, error) from error
    try:
        state = dequantize(tensors)
    except RuntimeError as error:  # scales of another shape than their tensor
        raise WeightsError(
            f"{path} holds tensors that cannot be dequantized ({one_line(str(error))}). Get a new copy."
        ) from error
    invalid = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if invalid:
        raise WeightsError(
            f"{path}: {len(invalid)} tensors hold values that are no numbers ({', '.join(invalid[:3])}). "
            "Get a new copy."
        )
    return state, metadata


#: Exceptions for invalid files; the last ones for number types that torch does not have.
_INVALID = (OSError, SafetensorError, ValueError, KeyError, AttributeError)


def _invalid_file(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} cannot be read as safetensors ({one_line(str(error))}). Get a new copy.")


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path) as part:
        try:
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, metadata)
        except SafetensorError as error:  # it is no OSError, also where the disk is full
            raise OSError(errno.EIO, one_line(str(error)), str(path)) from error
        part.chmod(0o644)  # safetensors writes for the owner alone; an installed package is for all users


def quantize(tensors: dict[str, torch.Tensor], bits: int) -> dict[str, torch.Tensor]:
    """Quantize tensors for shipping: to 16-bit floats, or 8-bit integers with one scale per output channel.

    Vectors (biases, batch-norm statistics) stay as they are: they are small and sensitive.

    Args:
        tensors: the tensors by name.
        bits: 16 or 8.
    """
    if bits == 16:
        return {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in tensors.items()}
    quantized = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim < 2:
            quantized[name] = tensor
            continue
        flat = tensor.float().flatten(1)
        scale = flat.abs().amax(dim=1).clamp(min=1e-12) / 127.0
        quantized[name] = (
            (flat / scale[:, None]).round().clamp(-127, 127).to(torch.int8).reshape(tensor.shape)
        )
        quantized[name + _SCALE] = scale
    return quantized


def dequantize(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Dequantize tensors: every float tensor in float32."""
    dequantized = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALE):
            continue
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            tensor = tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
        dequantized[name] = tensor.float() if tensor.is_floating_point() else tensor
    return dequantized


def count_elements(files: Sequence[Path]) -> int:
    """Count the numbers in safetensors files by their headers.

    Raises:
        WeightsError: one is not a valid safetensors file.
    """
    total = 0
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        except (OSError, SafetensorError) as error:
            raise _invalid_file(path, error) from error
    return total


def require_memory(parameters: int, dtype: torch.dtype, device: torch.device, name: str) -> None:
    """Check that a model has enough free memory, before it is loaded.

    Raises:
        NotEnoughMemoryError: its weights in `dtype` need more memory than is free on `device`.
    """
    needed, free = parameters * dtype.itemsize * (1 + _OVERHEAD), free_memory(device.type)
    if free is not None and needed > free:
        hint = " With --precision bf16 it takes half of that." if dtype.itemsize > 2 else ""
        raise NotEnoughMemoryError(
            f"{name} needs {needed / 1e9:.1f} GB on {device.type}, {free / 1e9:.1f} GB are free.{hint}"
        )


def check_state_dict(network: nn.Module, state: dict[str, torch.Tensor], name: str, path: Path) -> None:
    """Check that `state`, read from `path`, holds exactly the tensors of `network`, called `name`.

    Raises:
        WeightsError: it does not.
    """
    expected, problem = network.state_dict(), f"{path} does not fit {name}"
    mismatches = {"missing": expected.keys() - state.keys(), "unexpected": state.keys() - expected.keys()}
    if any(mismatches.values()):
        listing = "; ".join(
            f"{len(keys)} tensors {kind} ({', '.join(sorted(keys)[:3])}, …)"
            for kind, keys in mismatches.items()
            if keys
        )
        raise WeightsError(f"{problem}: {listing}. Check the network's name.")
    for key, tensor in state.items():
        target = expected[key]
        if target.is_floating_point() != tensor.is_floating_point():
            raise WeightsError(f"{problem}: {key} holds {tensor.dtype}, the network needs {target.dtype}.")
        if target.shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, the network needs {tuple(target.shape)}"
            raise WeightsError(f"{problem}: {key} has shape {shapes}.")


def pick_device(name: str) -> torch.device:
    """Select the torch device called `name`; `auto` is the fastest one here.

    Raises:
        UsageError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if not available.get(name, True):
        raise UsageError(f"--device {name}: torch finds none on this machine. Use --device auto or cpu.")
    return torch.device(name)
