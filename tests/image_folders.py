"""Folders of images, valid and invalid ones, and names of any bytes."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guards import no_hang, outcome, unchanged
from PIL import Image

from fer_models import datasets, images
from fer_models.datasets import FaceSet, synthetic_drawing
from fer_models.datasets.audit import audit
from fer_models.datasets.audit_text import format_audit

FACE = synthetic_drawing.draw("test", 0)
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def encoded(kind: str = "PNG", picture: Image.Image | None = None, **options: Any) -> bytes:
    data = io.BytesIO()
    (picture or Image.fromarray(FACE)).save(data, kind, **options)
    return data.getvalue()


def write_images(root: Path, *names: str, data: bytes | None = None) -> Path:
    """Write a valid picture, or `data`, at each of the paths under `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded() if data is None else data)
    return root


def read_all(root: Path, scheme: str | None = None) -> FaceSet | str:
    """Read all faces of a folder and audit it: the faces, or the sentence that refuses them."""

    def load() -> FaceSet:
        faces = datasets.load(str(root), label_scheme=scheme)
        with no_hang():
            assert format_audit(
                audit([faces], near=False)
            ).encode()  # unreadable pictures do not end an audit
        json.dumps([*faces.sources, *faces.notes, faces.name], ensure_ascii=False).encode()
        assert faces.hashes
        return faces

    with unchanged(root):
        return outcome(load)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG with the size in its header, and a few bytes of pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


PNG, JPEG = encoded(), encoded("JPEG")
GIF, TIFF, BMP, WEBP, PPM = (encoded(kind) for kind in ("GIF", "TIFF", "BMP", "WEBP", "PPM"))
NO_PICTURES: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"emotion,pixels,Usage\n",
    "html": b"<html><script>alert(1)</script></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "json": b'{"a": 1}',
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "pdf": b"%PDF-1.4\n",
    "elf": b"\x7fELF" + b"\0" * 60,
    "zeros": b"\0" * 1000,
    "ones": b"\xff" * 1000,
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "eps, which other programs read": encoded("EPS"),
    "ico": encoded("ICO"),
    "pcx": encoded("PCX"),
    "png signature only": PNG[:8],
    "png header only": PNG[:33],
    "png half": PNG[: len(PNG) // 2],
    "png without its checksum": PNG[:40] + b"\0\0\0\0" + PNG[44:],
    "png with fewer pixels than its header": png(48, 48),
    "png 0x0": png(0, 0),
    "png of unknown depth": png(4, 4, depth=7),
    "jpeg start": JPEG[:2],
    "jpeg tables only": JPEG[:300],
    "jpeg half": JPEG[: len(JPEG) // 2],
    "gif header": GIF[:13],
    "gif half": GIF[: len(GIF) // 2],
    "tiff header": TIFF[:8],
    "tiff half": TIFF[: len(TIFF) // 2],
    "bmp header": BMP[:54],
    "bmp half": BMP[: len(BMP) // 2],
    "webp half": WEBP[: len(WEBP) // 2],
    "ppm half": PPM[: len(PPM) // 2],
    "ppm without a size": b"P6\n-1 -1\n255\n",
    "bomb: png 30000x30000": png(30000, 30000),
    "bomb: png 2147483647 wide": png(2**31 - 1, 1),
    "bomb: png 8193x1": encoded("PNG", Image.new("L", (images.LARGEST_SIDE + 1, 1))),
    "bomb: text of 80 MB": png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9))),
    "bomb: gif 65535x65535": GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:],
    "bomb: bmp 2000000 high": BMP[:22] + struct.pack("<i", 2_000_000) + BMP[26:],
    "bomb: ppm 99999x99999": b"P6\n99999 99999\n255\n",
    "32-bit integers": encoded("TIFF", Image.fromarray(np.full((48, 48), 70000, np.int32))),
    "32-bit floats": encoded("TIFF", Image.fromarray(np.full((48, 48), 0.5, np.float32))),
    "16-bit pgm": b"P5\n48 48\n65535\n" + b"\1\2" * 48 * 48,
}


NAMES: dict[str, bytes] = {
    "no utf-8": b"\xff\xfe",
    "latin-1": b"caf\xe9",
    "cut utf-8": b"\xe2\x82",
    "encoded surrogate": b"\xed\xa0\x80",
    "line break": b"a\nb",
    "carriage return": b"a\rERROR",
    "tab": b"a\tb",
    "escape sequence": b"\x1b[31mred\x1b[2J",
    "bell": b"\x07",
    "right to left": "evil\u202egnp".encode(),
    "arabic": "\u0648\u062c\u0647".encode(),
    "hebrew": "\u05e4\u05e0\u05d9\u05dd".encode(),
    "html": b"<script>alert(1)<",
    "html attribute": b"\" onerror='alert(1)' x=\"",
    "entity": b"&lt;b&gt;",
    "format": b"%s%n{0}{x}",
    "shell": b"$(touch x);`id`&",
    "dash": b"--help",
    "backslash": b"a\\b",
    "emoji": "\U0001f600\u200d".encode(),
    "combining": "e\u0301\u0308".encode(),
    "spaces": b"  a  ",
    "tilde": b"~root",
    "star": b"*?[a]",
    "quote": b"it's",
    "csv": b'a,"b"',
    "dots": b"a..b",
    "long": b"x" * 251,
    "long and many bytes": "\u00e9".encode() * 125,
}
on_posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")


def named(root: Path, folder: str, name: bytes, data: bytes) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    with open(os.path.join(os.fsencode(root / folder), name + b".png"), "wb") as file:
        file.write(data)
