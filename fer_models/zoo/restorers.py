"""The restorers that come with the package."""

from __future__ import annotations

from pathlib import Path

from fer_models.artifacts import download, weights
from fer_models.restorers.base import Bicubic, Raw, Restorer
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import AUTO_BF16, RestorerSpec, Runtime, Weights

RAW = RestorerSpec("raw", lambda runtime: Raw(), "the unchanged faces")
BICUBIC = RestorerSpec(
    "bicubic",
    lambda runtime: Bicubic(512),
    "enlarged to 512 pixels without a model (the control for GFPGAN)",
    settings={"size": 512},
)


def _gfpgan(name: str, version: str, sha256: str) -> RestorerSpec:
    """A published network, from the authors' own release."""
    file = f"GFPGANv{version}.pth"
    url = f"https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/{file}"

    def path() -> Path:
        return weights.user_weights_dir() / file

    def load(runtime: Runtime) -> Restorer:
        from fer_models.restorers import gfpgan

        return gfpgan.load(path(), sha256=sha256, device=runtime.device, precision=runtime.precision)

    return RestorerSpec(
        name,
        load,
        f"GFPGAN v{version}, 512 pixels, without its random noise",
        Weights(
            lambda: path() if path().exists() else None,
            f"fer-models weights fetch {name}",
            lambda: download.fetch(url, path(), sha256),
        ),
        settings={"resize": "bilinear", "noise": "stored"},
        precision=AUTO_BF16,
        cached=True,
    )


def _gfpgan_nano(runtime: Runtime) -> Restorer:
    from fer_models.restorers import gfpgan

    path = GFPGAN_NANO.weights_path()
    assert path is not None
    return gfpgan.load(path, device=runtime.device, precision=runtime.precision)


# The sha256 of the two files of the release; each has 348,632,874 bytes.
GFPGAN = _gfpgan("gfpgan", "1.4", "e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad")
GFPGAN_1_3 = _gfpgan("gfpgan-1.3", "1.3", "c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70")
GFPGAN_NANO = RestorerSpec(
    "gfpgan-nano",
    _gfpgan_nano,
    "a small GFPGAN network of our own, 64 pixels, for grey faces",
    Weights(
        lambda: weights.find("gfpgan-nano"),
        "fer-models train gfpgan-nano --dataset fer2013 --data-root FOLDER",
    ),
    settings={"resize": "bilinear", "noise": "stored"},
    precision="float32",
    cached=True,
)

RESTORERS: Registry[RestorerSpec] = Registry("restorer", RAW, BICUBIC, GFPGAN_NANO, GFPGAN, GFPGAN_1_3)
