"""From a waveform to log-mel: the logarithm of the power in bands of equal width on the mel scale, frame by frame."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOOR = 1e-8
"""The least power of a band, 80 dB below white noise of unit power; the rounding of 16-bit samples lies at 1e-10."""

LOG_FLOOR = float(np.float16(math.log(FLOOR)))
"""What digital silence becomes."""

BLOCK_FRAMES = 256
"""Frames transformed at a time, so that a long sound takes no more memory than its result."""

Floats = NDArray[np.float64]
Waveform = NDArray[np.float32]
LogMel = NDArray[np.float16]


@dataclass(frozen=True)
class SpectrumSpec:
    """How a waveform becomes log-mel.

    Args:
        rate: samples a second of the waveform.
        mels: bands.
        frame_ms: length of a frame in milliseconds.
        hop_ms: from the start of one frame to the start of the next.
        lowest: where the first band begins, in hertz.
        highest: where the last band ends, in hertz; half the rate by default.

    Raises:
        ValueError: for a value out of its range, or when a band is too narrow to hold a frequency of the transform.
    """

    rate: int
    mels: int = 40
    frame_ms: float = 25.0
    hop_ms: float = 10.0
    lowest: float = 20.0
    highest: float | None = None

    def __post_init__(self) -> None:
        if min(self.rate, self.mels) < 1:
            raise ValueError(f"rate and mels must be at least 1, given {self}")
        if self.frame < 2 or self.hop < 1:
            raise ValueError(f"a frame needs 2 samples and a hop 1, given {self}: make frame_ms or hop_ms longer")
        if not 0 <= self.lowest < self.top <= self.rate / 2:
            raise ValueError(f"0 <= lowest < highest <= rate / 2 must hold, given {self}")
        empty = np.flatnonzero(~self.filters.any(axis=1))
        if len(empty):
            raise ValueError(
                f"band {empty[0] + 1} of {self.mels} holds none of the transform's frequencies, which are "
                f"{self.rate / self.fft:g} Hz apart: ask for fewer mels or a longer frame_ms"
            )

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return round(self.rate * self.frame_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return round(self.rate * self.hop_ms / 1000)

    @property
    def fft(self) -> int:
        """Length of the transform: the next power of 2."""
        return 1 << (self.frame - 1).bit_length()

    @property
    def top(self) -> float:
        """Where the last band ends, in hertz."""
        return self.rate / 2 if self.highest is None else self.highest

    @cached_property
    def filters(self) -> NDArray[np.float32]:
        """The bands: (mels, fft / 2 + 1)."""
        bands = mel_filters(rate=self.rate, fft=self.fft, mels=self.mels, lowest=self.lowest, highest=self.top)
        return bands.astype(np.float32)

    def frames(self, samples: int) -> int:
        """Return how many whole frames lie in a waveform; what is left over at its end is not used.

        Example:
            >>> SpectrumSpec(rate=8000).frames(8000)
            98
        """
        return max(0, 1 + (samples - self.frame) // self.hop)


def mel(hertz: ArrayLike) -> Floats:
    """Return the pitch in mel: `2595 log10(1 + f / 700)` (O'Shaughnessy 1987, as in HTK).

    Example:
        >>> mel([0, 1000]).round(1)
        array([  0., 1000.])
    """
    return np.asarray(2595 * np.log10(1 + np.asarray(hertz, dtype=np.float64) / 700))


def hertz(mel: ArrayLike) -> Floats:
    """Return the frequency of a pitch in mel, the inverse of `mel`: `700 (10 ** (m / 2595) - 1)`.

    Example:
        >>> hertz([0, 2595]).round(1)
        array([   0., 6300.])
    """
    return np.asarray(700 * (10 ** (np.asarray(mel, dtype=np.float64) / 2595) - 1))


def mel_filters(*, rate: int, fft: int, mels: int, lowest: float, highest: float) -> Floats:
    """Return the weight of each frequency of the transform in each band: (mels, fft / 2 + 1).

    The corners `c` of the bands lie at equal distances in mel. Band m is a triangle over the frequencies in hertz that
    rises from 0 at `c[m]` to 1 at `c[m + 1]` and falls to 0 at `c[m + 2]` (Davis and Mermelstein 1980); its height is
    1, whatever its width. Frequency k is `k rate / fft`.

    Args:
        rate: samples a second.
        fft: length of the transform.
        mels: bands.
        lowest: hertz where the first band begins.
        highest: hertz where the last band ends.

    Example:
        >>> mel_filters(rate=8, fft=8, mels=1, lowest=1.0, highest=3.0).round(2)
        array([[0., 0., 1., 0., 0.]])
    """
    corners = hertz(np.linspace(mel(lowest), mel(highest), mels + 2))[:, None]
    frequencies = np.arange(fft // 2 + 1) * (rate / fft)
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


def power_spectra(waveform: NDArray[np.floating], *, frame: int, hop: int, fft: int) -> Floats:
    """Return the power of each frame at each frequency: (frames, fft / 2 + 1).

    `P[t, k] = |sum_n w[n] y[t, n] exp(-2 pi i k n / fft)| ** 2 / sum_n w[n] ** 2`, where `y[t]` is the frame from
    sample `t hop` on less its mean, and `w[n] = (1 - cos(2 pi n / frame)) / 2` is Hann's window (Harris 1978). White
    noise of variance v has the mean power v at every frequency but the lowest, whatever the frame; a constant has none.

    Args:
        waveform: (samples,).
        frame: samples of a frame.
        hop: samples from frame to frame.
        fft: length of the transform, at least `frame`; zeros fill the rest.

    Example:
        >>> power_spectra(np.array([1, 0, 0, 0, 0, 1, 0, 0], np.float32), frame=4, hop=4, fft=4).round(3)
        array([[0.167, 0.042, 0.   ],
               [0.   , 0.208, 0.167]])
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, frame)[::hop]
    moving = frames - frames.mean(axis=1, keepdims=True, dtype=np.float64)
    spectra = np.fft.rfft(moving * window, fft)
    return np.asarray((spectra.real**2 + spectra.imag**2) / np.square(window).sum())


def log_mel(waveform: Waveform, spec: SpectrumSpec) -> LogMel:
    """Return the natural logarithm of the power in each band: float16 (mels, frames), the same for the same waveform.

    `log max(sum_k filters[m, k] P[t, k], FLOOR)` with `P` of `power_spectra` and `filters` of `mel_filters`. The first
    frame begins with the first sample; the last is the last that is whole.

    Args:
        waveform: float32 (samples,), of the rate that `spec` says.
        spec: frames and bands.

    Raises:
        ValueError: when the waveform is not one row, or shorter than a frame.

    Example:
        >>> log_mel(np.zeros(8000, np.float32), SpectrumSpec(rate=8000)).shape
        (40, 98)
    """
    if waveform.ndim != 1 or len(waveform) < spec.frame:
        raise ValueError(f"a waveform has one axis and at least {spec.frame} samples, given {waveform.shape}")
    result = np.empty((spec.mels, spec.frames(len(waveform))), dtype=np.float16)
    for first in range(0, result.shape[1], BLOCK_FRAMES):
        block = result[:, first : first + BLOCK_FRAMES]
        start = first * spec.hop
        piece = waveform[start : start + (block.shape[1] - 1) * spec.hop + spec.frame]
        powers = power_spectra(piece, frame=spec.frame, hop=spec.hop, fft=spec.fft).astype(np.float32)
        # Not a matrix product: BLAS starts threads in every process that decodes, and its sums depend on their number.
        block[:] = np.log(np.maximum(np.einsum("tk,mk->mt", powers, spec.filters), FLOOR))
    return result
