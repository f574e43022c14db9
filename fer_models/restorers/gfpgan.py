"""GFPGAN (Wang et al. 2021, arXiv:2101.04061), with spandrel's copy of its network.

The only module that imports spandrel. Intended differences from the authors' `GFPGANer.enhance`: the stored
noise is used instead of random noise, so that a face has one restoration; faces are processed in batches
where that is faster; and a failure is an error instead of the unrestored face.
"""

from __future__ import annotations

import contextlib
import json
import pickle  # for its error only: torch unpickles, and loads only tensors
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.device import is_out_of_memory
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import RestorationError, UsageError, WeightsError, reason_of
from fer_models.images import Face

#: The format of this package's files, in their metadata.
FORMAT = "fer-models-gfpgan"
#: Faces per forward pass by device, one on others: a CPU was slower with four faces than with one.
_BATCH_SIZE = {"cuda": 16}


#: What `torch.load` and an unexpected content raise.
_LOAD_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class GfpganConfig:
    """Size of a `GFPGANv1Clean` network.

    Everything else is as in the published networks (SFT on half the channels, a latent per layer).

    Attributes:
        out_size: the side of its input and of its output, in pixels: a power of two, at least 8.
        num_style_feat: the width of a latent.
        channel_multiplier: the factor of the channels in the layers from 64 pixels on.
        num_mlp: layers of the mapping network, which restoration does not use; the published files
            hold eight.
        narrow: the share of StyleGAN2's channels.
    """

    out_size: int = 512
    num_style_feat: int = 512
    channel_multiplier: int = 2
    num_mlp: int = 8
    narrow: float = 1.0


#: The published networks, of all versions from 1.2 on.
FULL = GfpganConfig()
#: `gfpgan-nano`: 64 pixels are enough for a 48-pixel face; 939,412 parameters, 1.9 MB in half precision.
#: Twice as many channels at 64 pixels, as in the published networks, would take twice the time.
NANO = GfpganConfig(out_size=64, num_style_feat=64, channel_multiplier=1, num_mlp=0, narrow=0.125)


def build(shape: GfpganConfig) -> nn.Module:
    """Build the network, randomly initialised by torch's generator."""
    from spandrel.architectures.GFPGAN import GFPGAN

    network: nn.Module = GFPGAN(
        **asdict(shape),
        decoder_load_path=None,
        fix_decoder=False,
        input_is_latent=True,
        different_w=True,
        sft_half=True,
    )
    return network


class Gfpgan:
    """Restorer around a trained network: resize, one forward pass, conversion to 8 bits."""

    def __init__(
        self, network: nn.Module, size: int, device: torch.device, precision: str = "float32"
    ) -> None:
        """Input and output of `network` have `size` pixels a side; `precision` is `float32` or `bf16`."""
        self.network, self.size = network.eval().to(device), size
        self.device, self.precision = device, precision

    def restore(self, faces: Sequence[Face], /) -> list[Face]:
        """See `Restorer.restore`: faces of any size in, faces of the network's size out.

        Raises:
            RestorationError: the memory is too small, or the network returned values that are no numbers.
        """
        restored: list[Face] = []
        batch_size = _BATCH_SIZE.get(self.device.type, 1)
        for start in range(0, len(faces), batch_size):
            batch = faces[start : start + batch_size]
            with self._translate_oom(len(batch)):
                images = to_images(self.infer(to_network(batch, self.size).to(self.device)))
            restored += list(images)
        return restored

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """The network's output for a batch in -1..1: float32 (n, 3, size, size)."""
        is_bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if is_bf16 else contextlib.nullcontext():
            out: torch.Tensor = self.network(batch, return_rgb=False, randomize_noise=False)[0]
        if not torch.isfinite(out).all():
            raise RestorationError(
                "GFPGAN returned values that are no numbers. "
                "Use --precision float32, or get a sound copy of its weights."
            )
        return out.float()

    @contextlib.contextmanager
    def _translate_oom(self, n: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # `BatchLoop` halves a batch whose error has an out-of-memory cause; one face cannot be halved.
            advice = "use a machine with more" if self.device.type == "cpu" else "use the CPU: --device cpu"
            raise RestorationError(
                f"The memory of {self.device} does not suffice for a batch of {n} x {self.size} x "
                f"{self.size} pixels. Close other programs, or {advice}."
            ) from (error if n > 1 else None)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())


def to_network(faces: Sequence[Face], size: int) -> torch.Tensor:
    """Preprocess faces: float32 (n, 3, size, size) in -1..1.

    They are enlarged bilinearly, as in the authors' `gfpgan/utils.py`.
    """
    resized = [
        np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BILINEAR))
        if face.shape[:2] != (size, size)
        else face
        for face in faces
    ]
    batch = torch.from_numpy(np.stack(resized).transpose(0, 3, 1, 2).copy())
    return (batch.float() / 255.0 - 0.5) / 0.5


def to_images(batch: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Inverse of `to_network`: uint8 (n, size, size, 3), clipped to black and white."""
    scaled = (batch.float().clamp(-1, 1) + 1) / 2 * 255.0
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def load(
    path: Path, *, sha256: str | None = None, device: str = "auto", precision: str = "float32"
) -> Gfpgan:
    """Load the restorer in a weights file.

    Args:
        path: a safetensors file of this package, or one of the authors' `.pth` files.
        sha256: that of a `.pth` file, which is not opened without it; a safetensors file can run no code, and
            needs none.
        device: as in `safetensors_io.pick_device`.
        precision: `float32` or `bf16`.

    Raises:
        UsageError: another precision, or no such device.
        WeightsError: the file is unsound, has another sha256, or does not fit the network.
    """
    if precision not in ("float32", "bf16"):
        raise UsageError(f"GFPGAN loses too much in {precision}. Use --precision bf16, float32 or auto.")
    where = safetensors_io.pick_device(device)
    state, shape = _read_published_file(path, sha256) if sha256 is not None else _read_own_file(path)
    with torch.device("meta"):  # without random weights, which would be overwritten
        network = build(shape)
    safetensors_io.check_state_dict(network, state, "GFPGAN", path)
    network.load_state_dict(state, assign=True)
    return Gfpgan(network, shape.out_size, where, precision)


def save(network: nn.Module, shape: GfpganConfig, path: Path, metadata: dict[str, str]) -> None:
    """Write a network as a file of this package; `metadata` is added to the file's."""
    own_metadata = {"format": FORMAT, "architecture": json.dumps(asdict(shape))}
    safetensors_io.write(network.state_dict(), path, {**own_metadata, **metadata})


def _read_own_file(path: Path) -> tuple[dict[str, torch.Tensor], GfpganConfig]:
    state, metadata = safetensors_io.read(path)
    try:
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format', 'not given')}")
        return state, GfpganConfig(**json.loads(metadata["architecture"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} was not written by `fer-models train gfpgan-nano` ({error}). "
            "Train it, or give another file."
        ) from error


def _read_published_file(path: Path, sha256: str) -> tuple[dict[str, torch.Tensor], GfpganConfig]:
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(
            f"{path} has sha256 {actual[:12]}…, the published file has {sha256[:12]}…. "
            "Delete it and fetch it again."
        )
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, torch.Tensor] = content["params_ema"]
    except _LOAD_ERRORS as error:
        raise WeightsError(
            f"{path} does not hold GFPGAN's weights ({reason_of(error)}). Delete it and fetch it again."
        ) from error
    return {name: tensor.float() for name, tensor in state.items()}, FULL
