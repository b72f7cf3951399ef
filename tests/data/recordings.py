"""Small real sound files for the tests of this wing."""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float64]


def tone(frequency: float, *, rate: int = 8000, seconds: float = 0.5, height: float = 0.5) -> Samples:
    times = np.arange(round(rate * seconds)) / rate
    return np.asarray(height * np.sin(2 * np.pi * frequency * times))


def hiss(seed: int, *, rate: int = 8000, seconds: float = 0.5, height: float = 0.1) -> Samples:
    return np.random.default_rng(seed).normal(0, height, round(rate * seconds)).clip(-0.99, 0.99)


def encoded(samples: Samples, kind: str = "WAV", subtype: str | None = None, *, rate: int = 8000) -> bytes:
    """The file that holds (samples,) or (samples, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def flac_saying(content: bytes, samples: int) -> bytes:
    """The FLAC file with another number of samples in its header; 0 is unknown."""
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return content[:18] + fields.to_bytes(8, "big") + content[26:]
