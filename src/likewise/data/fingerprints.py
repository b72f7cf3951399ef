"""The fingerprint of each kind of samples, by the kind's name: bits in which copies hardly differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from likewise.choices import choose
from likewise.data import fingerprint_images, fingerprint_sequences, fingerprint_sounds, fingerprint_texts
from likewise.data.fingerprint_base import Words


def fingerprints(kind: str, media: NDArray[Any]) -> Words:
    """Return the fingerprint of each row of the media (n, ...), uint64 (n, words).

    Raises:
        ValueError: when the kind is unknown.
    """
    return choose("kind", kind, FINGERPRINTS)(media)


FINGERPRINTS: dict[str, Callable[[NDArray[Any]], Words]] = {
    "image": fingerprint_images.image_fingerprints,
    "audio": fingerprint_sounds.sound_fingerprints,
    "sequence": fingerprint_sequences.sequence_fingerprints,
    "text": fingerprint_texts.text_fingerprints,
}

BITS = {
    "image": fingerprint_images.BITS,
    "audio": fingerprint_sounds.BITS,
    "sequence": fingerprint_sequences.BITS,
    "text": fingerprint_texts.BITS,
}
"""How many bits the fingerprint of each kind has."""
