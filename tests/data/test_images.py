import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from likewise.data.images import MAX_PIXELS, ImageSpec, Unreadable, decode
from tests.data.pictures import encoded, noise
from tests.real import real

GREY = ImageSpec(12, 10, 1)
COLOUR = ImageSpec(12, 10, 3)


def triangle_resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear with antialias, by its definition: a triangle as wide as the reduction, rows and columns in turn."""

    def weights(old: int, new: int) -> NDArray[np.float64]:
        scale = old / new
        support = max(scale, 1.0)
        table = np.zeros((new, old))
        for row in range(new):
            centre = (row + 0.5) * scale
            for column in range(old):
                table[row, column] = max(0.0, 1 - abs(column + 0.5 - centre) / support)
        return np.asarray(table / table.sum(axis=1, keepdims=True))

    rows, columns = weights(pixels.shape[0], height), weights(pixels.shape[1], width)
    return np.asarray(rows @ pixels.astype(float) @ columns.T)


def reason(content: bytes | NDArray[np.uint8], spec: ImageSpec = GREY, *, min_side: int = 4) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(content, spec, min_side=min_side)
    message = str(caught.value)
    assert "\n" not in message
    assert " at 0x" not in message
    return message


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF", "TGA", "PCX"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    pixels = noise(1)
    decoded = decode(encoded(pixels, kind), GREY)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels[None])


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000", "AVIF"])
def test_lossy_formats_are_near(kind: str) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    decoded = decode(encoded(smooth, kind, mode="RGB", quality=95), ImageSpec(64, 64, 1))
    assert np.abs(decoded[0].astype(int) - smooth).max() <= 8


def test_colour_is_channels_first() -> None:
    pixels = noise(2, channels=3)
    np.testing.assert_array_equal(decode(encoded(pixels), COLOUR), pixels.transpose(2, 0, 1))


def test_grey_becomes_three_equal_channels_and_colour_becomes_luma() -> None:
    grey, colour = noise(3), noise(4, channels=3)
    np.testing.assert_array_equal(decode(encoded(grey), COLOUR), np.stack([grey] * 3))
    luma = np.rint(colour @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(decode(encoded(colour), GREY)[0] - luma).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(5, 7), (12, 9), (30, 40)])
def test_resizing_is_the_antialiased_triangle(height: int, width: int) -> None:
    pixels = noise(5, height=12, width=20)
    decoded = decode(encoded(pixels), ImageSpec(height, width, 1))
    assert decoded.shape == (1, height, width)
    assert np.abs(decoded[0] - triangle_resize(pixels, height, width)).max() <= 1.01


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_divided_by_257(kind: str) -> None:
    wide = np.arange(0, 65536, 546, dtype=np.uint16)[:120].reshape(12, 10)
    np.testing.assert_array_equal(decode(encoded(wide, kind), GREY)[0], np.rint(wide / 257))


def test_floats_between_0_and_1_are_scaled_and_others_refused() -> None:
    values = np.linspace(0, 1, 120, dtype=np.float32).reshape(12, 10)
    np.testing.assert_array_equal(decode(encoded(values, "TIFF"), GREY)[0], np.rint(values * np.float64(255)))
    assert reason(encoded(values * 300, "TIFF")) == "mode F pixels outside 0 to 1"
    assert reason(encoded(values * np.float32("nan"), "TIFF")) == "mode F pixels outside 0 to 1"
    assert reason(encoded(np.full((12, 10), 70000, np.int32), "TIFF")) == "mode I pixels outside 0 to 65535"


def test_transparency_is_laid_on_white() -> None:
    pixels = np.zeros((12, 10, 4), np.uint8)
    pixels[:6, :, 3] = 255
    pixels[6:9, :, 3] = 128
    decoded = decode(encoded(pixels), COLOUR)
    assert (decoded[:, :6] == 0).all()
    assert (decoded[:, 6:9] == 127).all()
    assert (decoded[:, 9:] == 255).all()
    np.testing.assert_array_equal(decode(pixels, COLOUR), decoded)


def test_grey_with_alpha_and_palette_with_a_transparent_colour() -> None:
    both = np.zeros((12, 10, 2), np.uint8)
    both[:6, :, 1] = 255
    decoded = decode(encoded(both), GREY)
    assert (decoded[0, :6] == 0).all()
    assert (decoded[0, 6:] == 255).all()

    palette = Image.fromarray((noise(6) > 127).astype(np.uint8), "L").convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 100])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=0)
    indices = np.asarray(palette)
    red = decode(buffer.getvalue(), COLOUR)[0]
    np.testing.assert_array_equal(red, np.where(indices == 0, 255, 0))


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_every_mode_gives_the_spec_or_one_reason(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = encoded(
            noise(7, channels=3), "TIFF" if mode not in ("HSV",) else "PNG", mode if mode != "HSV" else None
        )
    decoded = decode(content, COLOUR) if mode != "LAB" else None
    if decoded is None:
        assert reason(content).startswith("damaged image: ")
    else:
        assert decoded.shape == COLOUR.shape


def test_cmyk_black_is_black() -> None:
    image = Image.new("CMYK", (10, 12), (0, 0, 0, 255))
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    assert (decode(buffer.getvalue(), COLOUR) == 0).all()


def test_one_bit_is_black_and_white() -> None:
    pixels = noise(8) > 127
    np.testing.assert_array_equal(decode(encoded(pixels, mode="1"), GREY)[0], pixels * 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_followed(kind: str, orientation: int) -> None:
    upright = np.repeat(np.repeat(np.array([[0, 80], [160, 255], [40, 120]], np.uint8), 16, 0), 16, 1)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright.T, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    content = encoded(np.ascontiguousarray(stored), kind, "RGB" if kind == "WEBP" else None, exif=exif, **options)
    decoded = decode(content, ImageSpec(48, 32, 1))
    assert np.abs(decoded[0].astype(int) - upright).max() <= 6


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(noise(seed)) for seed in (1, 2, 3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(buffer.getvalue(), GREY)[0], noise(1))


def test_a_large_jpeg_is_near_the_plain_way() -> None:
    rows = np.linspace(0, 6, 800)
    smooth = (127 + 120 * np.sin(np.add.outer(rows, rows[:600]))).astype(np.uint8)
    content = encoded(smooth, "JPEG", quality=95)
    plain = triangle_resize(np.asarray(Image.open(io.BytesIO(content))), 28, 28)
    assert np.abs(decode(content, ImageSpec(28, 28, 1))[0] - plain).max() <= 4


def test_arrays_are_taken_as_they_are() -> None:
    pixels = noise(9)
    decoded = decode(pixels, GREY)
    np.testing.assert_array_equal(decoded[0], pixels)
    decoded[:] = 0
    np.testing.assert_array_equal(pixels, noise(9))
    colour = noise(10, channels=3)
    np.testing.assert_array_equal(decode(colour, COLOUR), colour.transpose(2, 0, 1))
    larger = noise(11, height=24, width=20)
    np.testing.assert_array_equal(decode(larger, GREY), decode(encoded(larger), GREY))


@pytest.mark.parametrize(
    "pixels", [np.zeros((12, 10), np.float32), np.zeros((12,), np.uint8), np.zeros((3, 12, 10), np.uint8)]
)
def test_other_arrays_are_refused(pixels: NDArray[np.uint8]) -> None:
    assert "must be uint8 (H, W), (H, W, 3) or (H, W, 4), given" in reason(pixels)


def test_an_array_without_pixels_is_refused() -> None:
    assert reason(np.zeros((0, 10), np.uint8)) == "an array without pixels, (0, 10)"


def test_what_is_no_image_is_refused_with_the_reason() -> None:
    assert reason(b"") == "empty file"
    assert reason(b"hello") == "not an image that Pillow can read"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == (
        "PostScript, which is a program and not decoded"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    content = encoded(noise(12, height=60, width=60), kind)
    assert reason(content[: len(content) // 2])


def test_a_flipped_byte_in_a_png_is_refused() -> None:
    content = bytearray(encoded(noise(13)))
    content[len(content) // 2] ^= 0xFF
    assert reason(bytes(content)).startswith("damaged image: ")


def test_tiny_images_are_refused() -> None:
    assert reason(encoded(noise(14, height=12, width=3))) == "3x12 pixels, a side shorter than 4"
    assert reason(noise(14, height=12, width=3)) == "3x12 pixels, a side shorter than 4"
    assert reason(noise(15), min_side=11) == "10x12 pixels, a side shorter than 11"
    assert decode(noise(14, height=12, width=3), GREY, min_side=3).shape == GREY.shape


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has any number of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (10_000, 9_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused(width: int, height: int) -> None:
    assert f"more than {MAX_PIXELS}" in reason(bomb(width, height))


def test_a_specification_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is 2: give 1 \(grey\) or 3 \(colour\)"):
        ImageSpec(8, 8, 2)
    with pytest.raises(ValueError, match="must be at least 1"):
        ImageSpec(0, 8, 1)


@given(st.binary(max_size=60), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "TGA"]), st.data())
def test_damage_gives_pixels_or_a_reason_and_nothing_else(noise_: bytes, kind: str, data: st.DataObject) -> None:
    content = encoded(noise(16), kind)
    at = data.draw(st.integers(0, len(content)))
    damaged = content[:at] + noise_ + content[at + len(noise_) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decoded = decode(damaged, GREY)
        except Unreadable as error:
            assert " at 0x" not in str(error)  # noqa: PT017
        else:
            assert decoded.shape == GREY.shape


def test_real_faces_are_decoded() -> None:
    file = sorted(Path(real("orl-faces")).rglob("*.pgm"))[0]
    decoded = decode(file.read_bytes(), ImageSpec(112, 92, 1))
    np.testing.assert_array_equal(decoded[0].ravel(), np.frombuffer(file.read_bytes()[-112 * 92 :], np.uint8))
