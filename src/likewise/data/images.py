"""From an encoded image, or an array, to pixels of one fixed shape."""

import io
import re
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from likewise.data.cropping import cropped
from likewise.data.raw import Content, Pixels, Unreadable

__all__ = ["MAX_PIXELS", "MIN_SIDE", "ImageSpec", "Unreadable", "decode"]

MAX_PIXELS = 1 << 26
"""Images above 67 megapixels are refused: a small file can ask for any amount of memory."""

MIN_SIDE = 4
"""Images with a shorter side are refused where no other limit is given."""

POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")


@dataclass(frozen=True)
class ImageSpec:
    """The shape that every image takes.

    Attributes:
        height: Rows.
        width: Columns; the aspect ratio is not kept.
        channels: 1 for grey, 3 for red, green and blue.
        crop: Cut out what stands out from the background, with this margin around it; None leaves the image whole.
    """

    height: int
    width: int
    channels: int
    crop: float | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels}: give 1 (grey) or 3 (colour)")
        if min(self.height, self.width) < 1:
            raise ValueError(f"height and width must be at least 1, given {self}")
        if self.crop is not None and not self.crop >= 0:
            raise ValueError(f"crop is {self.crop}: give the margin around what stands out, 0 or more, or none")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.height, self.width


def decode(content: Content, spec: ImageSpec, *, min_side: int = MIN_SIDE) -> Pixels:
    """Return the image as uint8 (C, H, W), the same for the same input.

    Orientation follows EXIF, transparency is laid on white, 16-bit values are divided by 257, palettes and CMYK are
    converted, colour profiles are ignored, an animation gives its first frame. Grey is
    0.299 R + 0.587 G + 0.114 B (ITU-R 601-2). Resizing is bilinear, and antialiased when it shrinks; a JPEG more than
    twice as large as needed is first reduced in its frequency domain, unless it is cropped (`cropping.cropped`).

    Args:
        content: An encoded image, or uint8 pixels (H, W), (H, W, 3) or (H, W, 4) with alpha.
        spec: The wanted shape.
        min_side: Images with a shorter side, in pixels, are refused.

    Raises:
        Unreadable: not an image, damaged, truncated, too small, too large, or pixels whose range is unknown.
    """
    if _fits(content, spec, min_side):
        return np.array(content)[None]
    try:
        image = _from_array(content) if isinstance(content, np.ndarray) else _opened(content)
        _check_size(image, min_side)
        # A JPEG more than twice as large as needed is reduced while it is decoded; others ignore this.
        side = 2 * max(spec.height, spec.width)
        if spec.crop is None:
            image.draft(None, (side, side))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _fitted(_opaque(_eight_bit(image)), spec)
    except (Unreadable, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Unreadable("not an image that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"more than {MAX_PIXELS} pixels") from None
    # Pillow's forty decoders raise nearly every type of error on damaged input.
    except Exception as error:
        raise Unreadable(f"damaged image: {_one_line(error)}") from error


def _fits(content: Content, spec: ImageSpec, min_side: int) -> TypeGuard[Pixels]:
    """Say whether the content is pixels that need nothing done to them."""
    if not isinstance(content, np.ndarray) or content.dtype != np.uint8 or spec.channels != 1 or spec.crop is not None:
        return False
    return content.shape == spec.shape[1:] and min(content.shape) >= min_side


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise Unreadable("empty file")
    if content.startswith(POSTSCRIPT):
        raise Unreadable("PostScript, which is a program and not decoded")
    return Image.open(io.BytesIO(content))


def _from_array(content: Pixels) -> Image.Image:
    channels = content.shape[2:]
    if content.dtype != np.uint8 or content.ndim not in (2, 3) or channels not in ((), (3,), (4,)):
        given = f"{content.dtype} {content.shape}"
        raise Unreadable(f"an array must be uint8 (H, W), (H, W, 3) or (H, W, 4), given {given}")
    if 0 in content.shape:
        raise Unreadable(f"an array without pixels, {content.shape}")
    return Image.fromarray(content)


def _check_size(image: Image.Image, min_side: int) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    if min(width, height) < min_side:
        raise Unreadable(f"{width}x{height} pixels, a side shorter than {min_side}")


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):
        raise Unreadable(f"mode {image.mode} pixels outside 0 to {top:g}")
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured)


def _fitted(image: Image.Image, spec: ImageSpec) -> Pixels:
    grey = spec.channels == 1
    mode = "L" if grey else "RGB"
    # Converting to the same mode would copy.
    image = image if image.mode == mode else image.convert(mode)
    if spec.crop is not None:
        image = cropped(image, aspect=spec.width / spec.height, margin=spec.crop)
    if image.size != (spec.width, spec.height):
        image = image.resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _one_line(error: Exception) -> str:
    """Return the message without object addresses, which differ from run to run."""
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "data", f"{error}") or type(error).__name__
    return " ".join(text.split())[:200]
