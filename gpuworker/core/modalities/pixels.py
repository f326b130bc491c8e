"""One image: from file bytes to uint8 (H, W, C), and between NumPy and Pillow."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gpuworker.core.modalities.batches import OFFSETS
from gpuworker.core.modalities.options import Caps
from gpuworker.core.protocols import SampleBatch

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_WIDE_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)


class _Refused(ValueError):
    """A reason of our own, to be shown as it stands."""


def decode(data: bytes, side: int, caps: Caps) -> NDArray[np.uint8]:
    """The image in `data` as uint8 (H, W, C), C = 1 or 3, no side longer than `side`. Raises ValueError saying why not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > caps.pixels:
                    raise _Refused(f"It has {image.width} x {image.height} pixels, allowed {caps.pixels} in all.")
                if image.format == "JPEG":
                    image.draft(None, (side, side))
                image.load()
                return shrink(_to_array(ImageOps.exif_transpose(image)), side)
    except _Refused:
        raise
    except UnidentifiedImageError as error:
        raise ValueError("It is not a PNG, JPEG, WebP, BMP or TIFF image.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"It unpacks to too many pixels, allowed {caps.pixels}.") from error
    except MemoryError as error:
        raise ValueError("It needs more memory than allowed.") from error
    except _DECODE_ERRORS as error:
        raise ValueError(f"The image is broken: {error}") from error


def shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image, scaled down with Lanczos when its longer side exceeds `side`."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return pixels
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return from_pil(to_pil(pixels).resize(size, Image.Resampling.LANCZOS))


def to_pil(pixels: NDArray[np.uint8]) -> Image.Image:
    """uint8 (H, W, 1) as mode L, (H, W, 3) as RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def from_pil(image: Image.Image) -> NDArray[np.uint8]:
    """Mode L or RGB as uint8 (H, W, 1) or (H, W, 3)."""
    pixels = np.asarray(image, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def image_at(batch: SampleBatch, index: int) -> NDArray[np.uint8]:
    """Image `index` of a batch, (H, W, C). Raises IndexError outside 0..N-1."""
    if not 0 <= index < batch.n:
        raise IndexError(f"row {index} of {batch.n}")
    low, high = batch.arrays["pixels" + OFFSETS][index : index + 2]
    return batch.arrays["pixels"][low:high].reshape(tuple(batch.arrays["shapes"][index]))


def uniform(batch: SampleBatch, start: int, stop: int) -> NDArray[np.uint8] | None:
    """Rows start..stop as (n, H, W, C) when they are all of one shape, else None."""
    shapes = batch.arrays["shapes"][start:stop]
    if len(shapes) == 0 or (shapes != shapes[0]).any():
        return None
    offsets = batch.arrays["pixels" + OFFSETS]
    return batch.arrays["pixels"][offsets[start] : offsets[stop]].reshape(len(shapes), *shapes[0].tolist())


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _WIDE_GREY or image.mode == "F":
        return _wide_grey(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        grey = image.mode in ("LA", "L", "1", "La")
        flat = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
        return from_pil(flat.convert("L" if grey else "RGB"))
    return from_pil(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _wide_grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit, 32-bit and floating-point grey: [0, 1] floats times 255; whole numbers over 255 are read as 16-bit."""
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if not np.isfinite(wide).all() or low < 0 or high > 65_535:
        raise _Refused(f"Its grey values run from {low:g} to {high:g}, expected 0 to 65535.")
    if values.dtype.kind == "f" and high <= 1:
        wide = wide * 255
    elif values.dtype.itemsize == 2 or high > 255:
        wide = wide / 257
    return np.rint(wide).astype(np.uint8)[..., None]
