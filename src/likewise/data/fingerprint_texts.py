"""Fingerprints of texts: 256 bits in which copies with other case or punctuation, or a word less, hardly differ."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from likewise.data.fingerprint_base import Words, packed, scattered, unpacked
from likewise.data.raw import Pixels

BITS = 256
SHINGLE = 4
"""Bytes of a shingle."""


def text_fingerprints(texts: Pixels) -> Words:
    r"""Return the 256-bit simhash of each text (n, length), UTF-8 filled up with zeros, as uint64 (n, 4).

    Of a text its words stay, without case and compatibility forms (Unicode's NFKC, folded), a space before, between
    and after them. Every 4 neighbouring bytes are a shingle, and each is hashed to 256 bits. A bit of the text is 1
    where more than half of its shingles have it: texts whose counts of shingles lie at the angle a differ in about a
    share a / pi of the bits (Charikar, Similarity estimation techniques from rounding algorithms, 2002, section 3).

    >>> texts = np.array([[*b"Same, same?"], [*b"same  same\0"]], dtype=np.uint8)
    >>> int(np.bitwise_count(np.bitwise_xor(*text_fingerprints(texts))).sum())
    0
    """
    prints = np.empty((len(texts), BITS // 64), np.uint64)
    for row, text in enumerate(texts):
        votes = unpacked(scattered(_shingles(_words(text.tobytes())), BITS // 64))
        prints[row] = packed((2 * votes.sum(axis=0, dtype=np.int64) > len(votes))[None])[0]
    return prints


def _words(encoded: bytes) -> bytes:
    text = unicodedata.normalize("NFKC", encoded.rstrip(b"\0").decode("utf-8", errors="replace")).casefold()
    # A text of nothing but signs is its signs.
    words = " ".join(re.findall(r"\w+", text) or [text])
    return f" {words} ".encode().ljust(SHINGLE)


def _shingles(text: bytes) -> Words:
    """Return every shingle as a number (n,)."""
    codes = np.frombuffer(text, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE).astype(np.uint64)
    return windows @ (np.uint64(256) ** np.arange(SHINGLE, dtype=np.uint64))
