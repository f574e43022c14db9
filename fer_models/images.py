"""Face images: decoding, conversion and hashing. A face is a uint8 RGB array of shape (height, width, 3).

Only this module converts grey images to RGB, and decodes files.
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fer_models.errors import DatasetError, ImageError, printable

Face = NDArray[np.uint8]

#: An image with a longer side is refused before it is decoded: no face dataset needs it, and decoding it
#: could exhaust the memory (a "decompression bomb").
LARGEST_SIDE = 8192

#: The largest image file in bytes: 256 MiB, more than the largest image takes uncompressed.
LARGEST_FILE = 2**28

#: The formats that are decoded. Pillow has more, and some of them run other programs (EPS).
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

#: Tags of TIFF 6.0, and the value of the second one where 0 is white.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def to_rgb(image: NDArray[np.uint8]) -> Face:
    """Convert a grey (H, W), (H, W, 1) or RGB (H, W, 3) uint8 array to RGB (H, W, 3).

    Raises:
        ImageError: another type or shape, or an empty image.
    """
    if image.dtype != np.uint8:
        raise ImageError(f"An image must be uint8 (0..255), got {image.dtype}.")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"An image must be grey (H, W) or RGB (H, W, 3), got shape {image.shape}.")
    return np.ascontiguousarray(image)


def decode(data: bytes, name: str) -> Face:
    """Decode an image (JPEG, PNG, TIFF, …), upright, transparency over black, 16-bit grey scaled to 8 bits.

    The first frame of an animation is decoded.

    Args:
        data: the file's bytes.
        name: its name in messages.

    Raises:
        ImageError: not an image of a known format, truncated, of more than 16 bits, or larger than
            `LARGEST_SIDE`.
    """
    name = printable(name)
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), not an image.")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images (our limit is stricter), and of damaged metadata.
            warnings.simplefilter("ignore")
            return _decode(data, name)
    except ImageError:
        raise
    except Exception as error:  # damaged images make decoders raise almost anything: struct.error, KeyError
        is_unknown = isinstance(error, UnidentifiedImageError)  # its text is the address of a buffer
        reason = "not a picture of a known format" if is_unknown else str(error) or type(error).__name__
        raise ImageError(
            f"{name} cannot be read as an image ({reason}). Remove it, or replace it by a valid copy."
        ) from error


def _decode(data: bytes, name: str) -> Face:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        picture: Image.Image = opened
        if max(picture.size) > LARGEST_SIDE:
            size = f"{picture.size[0]}x{picture.size[1]}"
            raise ImageError(f"{name} is {size} pixels; the largest side allowed is {LARGEST_SIDE}.")
        if picture.mode in ("I", "F"):
            raise ImageError(
                f"{name} has pixels of Pillow's mode {picture.mode}, whose white is unknown. "
                "Convert it to 8 bits, or to a 16-bit PNG."
            )
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # cameras may store an image rotated
            picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I;16"):
            return to_rgb(_eight_bits(np.asarray(picture), opened))
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
        return to_rgb(np.asarray(picture.convert("L" if picture.mode in ("L", "1") else "RGB")))


def _eight_bits(pixels: NDArray[np.uint16], opened: Image.Image) -> NDArray[np.uint8]:
    """Scale pixels of Pillow's modes `I;16` to 8 bits. Pillow leaves those of a TIFF as they are stored."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    grey: NDArray[np.uint8] = (pixels >> max(0, bits - 8)).astype(np.uint8)
    return np.invert(grey) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


def read(path: Path) -> Face:
    """Read the face in an image file.

    Raises:
        ImageError: see `decode`; also when the file cannot be opened, is no regular file, or has more than
            `LARGEST_FILE` bytes.
    """
    try:
        data = read_bytes(path, LARGEST_FILE)
    except DatasetError as error:
        raise ImageError(str(error)) from error
    return decode(data, str(path))


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a regular file, perhaps through links.

    A device, a pipe or a socket is not opened: reading it might never end.

    Args:
        path: the file.
        largest: the most bytes it may have.

    Raises:
        DatasetError: it cannot be opened, is no regular file, or is larger.
    """
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            kind = _file_kind(status.st_mode)
            raise DatasetError(f"{path} is {kind}, not a regular file. Replace it by a file, or remove it.")
        if size > largest:
            raise DatasetError(f"{path} has {size:,} bytes; the largest file allowed has {largest:,}.")
        with path.open("rb") as file:
            return file.read(size)  # no more: some files of the system have no end
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path} cannot be opened ({reason}).") from error


def _file_kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def grey(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert RGB (…, 3) to grey (…): exact for grey faces, else ITU-R 601-2 luma (as Pillow's "L")."""
    if (faces == faces[..., :1]).all():
        return faces[..., 0].copy()
    red, green, blue = (faces[..., c].astype(np.uint32) for c in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def resize(face: Face, size: int) -> Face:
    """Resize `face` to a square of `size` pixels (bicubic, antialiased by Pillow)."""
    if face.shape[:2] == (size, size):
        return face
    return np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BICUBIC))


def distinct_shapes(faces: Iterable[Face]) -> list[list[int]]:
    """List the distinct shapes of some faces, sorted: the time of a computation depends on them."""
    return [list(shape) for shape in sorted({face.shape for face in faces})]


def face_hash(face: Face) -> str:
    """Hash a face: the sha256 of its size and its RGB pixels, in hexadecimal."""
    digest = hashlib.sha256(f"{face.shape[0]}x{face.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(face).data)
    return digest.hexdigest()


def data_url(face: Face) -> str:
    """Encode a face as a PNG in a data URL, for a report or a request."""
    png = io.BytesIO()
    Image.fromarray(face).save(png, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode('ascii')}"
