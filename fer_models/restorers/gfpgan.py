"""GFPGAN (Wang et al. 2021, arXiv:2101.04061), on spandrel's copy of its network. The only module that
imports spandrel.

What differs from the authors' own `GFPGANer.enhance` on purpose: noise is not drawn anew for each face (the
stored noise is used, so that a face has one restoration), faces go through in batches where that pays, and a
failure is an error instead of the face itself.
"""

from __future__ import annotations

import contextlib
import json
import pickle  # for the name of its error only: nothing is unpickled but by torch, which then reads tensors and nothing else
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fer_models.artifacts import safetensors_io
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import RestorationError, UsageError, WeightsError
from fer_models.images import Face

#: What marks a file of ours in its metadata.
FORMAT = "fer-models-gfpgan"
#: Faces per forward pass, one where nothing is said: a processor was slower with four at once than one by
#: one.
_BATCH_SIZE = {"cuda": 16}


@dataclass(frozen=True)
class GfpganConfig:
    """The size of a `GFPGANv1Clean` network; what is not here is as in the published ones (SFT on half the
    channels, a latent per layer).

    Attributes:
        out_size: the side of its input and of its output, in pixels: a power of two, at least 8.
        num_style_feat: the width of a latent.
        channel_multiplier: how many more channels the layers from 64 pixels on have.
        num_mlp: layers of the mapping network, which restoration goes around; the published files hold eight.
        narrow: the share of StyleGAN2's channels.
    """

    out_size: int = 512
    num_style_feat: int = 512
    channel_multiplier: int = 2
    num_mlp: int = 8
    narrow: float = 1.0


#: The published networks, of all versions from 1.2 on.
FULL = GfpganConfig()
#: `gfpgan-nano`: 64 pixels hold all that a 48-pixel face has; 939,412 parameters, 1.9 MB in half precision.
#: Twice as many channels at 64 pixels, as in the published networks, would take twice the time.
NANO = GfpganConfig(out_size=64, num_style_feat=64, channel_multiplier=1, num_mlp=0, narrow=0.125)


def build(shape: GfpganConfig) -> nn.Module:
    """The network, randomly initialised by torch's generator."""
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
    """A trained network as a restorer: resize, one forward pass, back to 8 bits."""

    def __init__(
        self, network: nn.Module, size: int, device: torch.device, precision: str = "float32"
    ) -> None:
        """A restorer around `network`, whose input and output have `size` pixels a side; `precision` is
        `float32` or `bf16`.
        """
        self.network, self.size, self.device, self.precision = (
            network.eval().to(device),
            size,
            device,
            precision,
        )

    def restore(self, faces: Sequence[Face], /) -> list[Face]:
        """See `Restorer.restore`: faces of any size, back at the network's own.

        Raises:
            RestorationError: the memory does not suffice, or the network returned values that are no numbers.
        """
        restored: list[Face] = []
        at_once = _BATCH_SIZE.get(self.device.type, 1)
        for start in range(0, len(faces), at_once):
            some = faces[start : start + at_once]
            with self._translate_oom(len(some)):
                images = to_images(self.infer(to_network(some, self.size).to(self.device)))
            restored += list(images)
        return restored

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """The network's answer to a batch in -1..1, float32 (n, 3, size, size)."""
        with (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision == "bf16"
            else contextlib.nullcontext()
        ):
            out: torch.Tensor = self.network(batch, return_rgb=False, randomize_noise=False)[0]
        if not torch.isfinite(out).all():
            raise RestorationError(
                "GFPGAN returned values that are no numbers. Use --precision float32, or get a sound copy of its weights."
            )
        return out.float()

    @contextlib.contextmanager
    def _translate_oom(self, n: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            fewer = f"Use a smaller batch (--batch-size {max(1, n // 4)}) or the processor (--device cpu)."
            advice = (
                "Close other programs, or use a machine with more memory."
                if self.device.type == "cpu"
                else fewer
            )
            what = f"restore {n} faces of {self.size} pixels at once"
            raise RestorationError(
                f"The memory of {self.device} does not suffice to {what}. {advice}"
            ) from error

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.network.parameters())


def to_network(faces: Sequence[Face], size: int) -> torch.Tensor:
    """Faces as the network wants them: float32 (n, 3, size, size) in -1..1, enlarged bilinearly as in the
    authors' `gfpgan/utils.py`.
    """
    square = [
        np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.BILINEAR))
        if f.shape[:2] != (size, size)
        else f
        for f in faces
    ]
    batch = torch.from_numpy(np.stack(square).transpose(0, 3, 1, 2).copy())
    return (batch.float() / 255.0 - 0.5) / 0.5


def to_images(batch: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """`to_network` undone, for any values: uint8 (n, size, size, 3), cut off at black and white."""
    scaled = (batch.float().clamp(-1, 1) + 1) / 2 * 255.0
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def load(
    path: Path, *, sha256: str | None = None, device: str = "auto", precision: str = "float32"
) -> Gfpgan:
    """The restorer in a weights file.

    Args:
        path: a safetensors file of ours, or one of the authors' `.pth` files.
        sha256: what a `.pth` file must have, without which it is not opened; a safetensors file can run no
            code, and needs none.
        device: as in `tensors.pick_device`.
        precision: `float32` or `bf16`.

    Raises:
        UsageError: another precision, or no such device.
        WeightsError: the file is unsound, is not the one it should be, or does not fit the network.
    """
    if precision not in ("float32", "bf16"):
        raise UsageError(f"GFPGAN loses too much in {precision}. Use --precision bf16, float32 or auto.")
    where = safetensors_io.pick_device(device)
    state, shape = _read_published_file(path, sha256) if sha256 is not None else _read_own_file(path)
    with torch.device("meta"):  # without drawing random weights that are overwritten at once
        network = build(shape)
    safetensors_io.check_state_dict(network, state, "GFPGAN", path)
    network.load_state_dict(state, assign=True)
    return Gfpgan(network, shape.out_size, where, precision)


def save(network: nn.Module, shape: GfpganConfig, path: Path, said: dict[str, str]) -> None:
    """Write a network as a file of ours; `said` is added to its metadata."""
    safetensors_io.write(
        network.state_dict(), path, {"format": FORMAT, "architecture": json.dumps(asdict(shape)), **said}
    )


def _read_own_file(path: Path) -> tuple[dict[str, torch.Tensor], GfpganConfig]:
    state, metadata = safetensors_io.read(path)
    try:
        if metadata.get("format") != FORMAT:
            raise ValueError(f"its format is {metadata.get('format', 'not given')}")
        return state, GfpganConfig(**json.loads(metadata["architecture"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} was not written by `fer-models train gfpgan-nano` ({error}). Train it, or give another file."
        ) from error


def _read_published_file(path: Path, sha256: str) -> tuple[dict[str, torch.Tensor], GfpganConfig]:
    found = sha256_of(path)
    if found != sha256:
        raise WeightsError(
            f"{path} has sha256 {found[:12]}…, the published file has {sha256[:12]}…. Delete it and fetch it again."
        )
    try:
        said: Any = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, torch.Tensor] = said["params_ema"]
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path} does not hold GFPGAN's weights ({reason}). Delete it and fetch it again."
        ) from error
    return {name: tensor.float() for name, tensor in state.items()}, FULL


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch (on a GPU, or its allocator on the processor) or Python says that there is no more
    memory.
    """
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(
        words in str(error) for words in said
    )
