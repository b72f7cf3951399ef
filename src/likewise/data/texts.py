"""From an encoded text to bytes of one fixed length."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from likewise.data.raw import Content, Pixels, Unreadable

__all__ = ["MAX_BYTES", "MIN_LENGTH", "TextSpec", "Unreadable", "decode", "left_out"]

MAX_BYTES = 1 << 24
"""Texts above 16 MiB are refused, of which a model would see the first few lines only."""

MIN_LENGTH = 4
"""The longest code point of UTF-8, so that something is left of every text."""


@dataclass(frozen=True)
class TextSpec:
    """The shape that every text takes.

    Args:
        length: Bytes; a longer text is cut, a shorter one filled up with zeros.

    Raises:
        ValueError: when it is below `MIN_LENGTH`.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < MIN_LENGTH:
            raise ValueError(f"length is {self.length}: at least {MIN_LENGTH} bytes are needed for any one character")

    @property
    def shape(self) -> tuple[int]:
        """Length."""
        return (self.length,)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Bytes."""
        return np.dtype(np.uint8)


def decode(content: Content, spec: TextSpec) -> Pixels:
    r"""Return the text as uint8 (length,): UTF-8, filled up with zeros, the same for the same input.

    A byte-order mark is dropped, line ends become line feeds, white space around the text goes, and what can be
    written in several ways is written in one (Unicode's NFC). A text that is too long ends after its last whole code
    point that fits. Decoding the result again gives the result.

    Args:
        content: A text in UTF-8.
        spec: The wanted shape.

    Raises:
        Unreadable: an array, too long, not UTF-8, with a NUL inside, or nothing but white space.

    Example:
        >>> decode("Café\r\n".encode(), TextSpec(length=8)).tobytes()
        b'Caf\xc3\xa9\x00\x00\x00'
    """
    encoded = _cut(_written_in_one_way(_text(content)).encode(), spec.length)
    if not encoded:
        raise Unreadable("empty: no text but white space")
    return np.frombuffer(encoded.ljust(spec.length, b"\0"), dtype=np.uint8).copy()


def left_out(content: Content, spec: TextSpec) -> int:
    r"""Return how many bytes of a text that `decode` takes are cut off, counted as it writes them.

    Raises:
        Unreadable: for the reasons of `decode`, but for nothing but white space.

    Example:
        >>> left_out("Caf\u00e9s\r\n".encode(), TextSpec(length=4))
        3
    """
    encoded = _written_in_one_way(_text(content)).encode()
    return len(encoded) - len(_cut(encoded, spec.length))


def _text(content: Content) -> str:
    if isinstance(content, np.ndarray):
        raise Unreadable(f"a text must be an encoded file, given an array {content.dtype} {content.shape}")
    if len(content) > MAX_BYTES:
        raise Unreadable(f"{len(content)} bytes, more than {MAX_BYTES}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: byte {error.start}") from None
    if "\0" in text:
        raise Unreadable(f"byte {content.index(0)} is NUL, which no text holds")
    return text


def _written_in_one_way(text: str) -> str:
    lines = re.sub("\r\n?", "\n", text.removeprefix("\ufeff"))
    return unicodedata.normalize("NFC", lines).strip()


def _cut(encoded: bytes, length: int) -> bytes:
    if len(encoded) <= length:
        return encoded
    # The last bytes may be the beginning of a code point, which is then left out.
    return encoded[:length].decode("utf-8", errors="ignore").rstrip().encode()
