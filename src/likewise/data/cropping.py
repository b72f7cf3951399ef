"""What stands out from an image's background, cut out in a window of the wanted aspect."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STANDS_OUT = 64
"""Grey values by which a pixel differs from the background where it stands out."""

LEAST_SHARE = 0.2
"""The window is no smaller than this share of the image: a dot stays a dot."""

Box = tuple[int, int, int, int]


def cropped(image: Image.Image, *, aspect: float, margin: float) -> Image.Image:
    """Return the window around what stands out from the background, which is the median of the border's pixels.

    The window is centred on the box of the pixels that differ from the background by more than `STANDS_OUT`, has the
    wanted aspect, and leaves `margin` of its length free on each side of the longer axis; beyond the image it is filled
    with the background. An image in which nothing stands out comes back whole.

    Args:
        image: mode L or RGB.
        aspect: width / height of the window.
        margin: share of the box's length that stays free on each side.

    Example:
        >>> paper = Image.new("L", (40, 20), 255)
        >>> paper.paste(0, (10, 8, 20, 12))
        >>> cropped(paper, aspect=2.0, margin=0.1).size
        (12, 6)
    """
    box = outstanding(np.asarray(image.convert("L")))
    if box is None:
        return image
    left, top, right, bottom = window(box, (image.width, image.height), aspect=aspect, margin=margin)
    border = _border(np.asarray(image))
    colour = tuple(int(value) for value in np.median(border.reshape(len(border), -1), axis=0))
    result = Image.new(image.mode, (right - left, bottom - top), colour if image.mode == "RGB" else colour[0])
    result.paste(image, (-left, -top))
    return result


def outstanding(grey: NDArray[np.uint8]) -> Box | None:
    """Return left, top, right and bottom (the last two excluded) of what stands out, or None where nothing does."""
    differs = np.abs(grey - float(np.median(_border(grey)))) > STANDS_OUT
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def window(box: Box, size: tuple[int, int], *, aspect: float, margin: float) -> Box:
    """Return the window around a box, as `cropped` says; it may reach beyond the image of this width and height."""
    left, top, right, bottom = box
    height = max(bottom - top, (right - left) / aspect) * (1 + 2 * margin)
    height = max(height, LEAST_SHARE * min(size[1], size[0] / aspect))
    sides = max(1, round(height * aspect)), max(1, round(height))
    starts = [(first + last - side) // 2 for first, last, side in zip(box[:2], box[2:], sides, strict=True)]
    return starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1]


def _border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the pixels of the outermost rows and columns, (n, ...)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
