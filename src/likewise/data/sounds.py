"""From an encoded sound to log-mel of one fixed shape, a window after the other."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from likewise.data.raw import Content, Unreadable
from likewise.data.spectra import LOG_FLOOR, LogMel, SpectrumSpec, Waveform, log_mel

if TYPE_CHECKING:
    from soundfile import SoundFile

__all__ = ["MAX_SECONDS", "MIN_RATE", "MIN_SECONDS", "SoundSpec", "Unreadable", "decode", "read_waveform"]

MIN_SECONDS = 0.1
"""Shorter sounds are refused where no other limit is given."""

MAX_SECONDS = 3600.0
"""Longer sounds are refused where no other limit is given: a small file can ask for any amount of memory."""

MIN_RATE, MAX_RATE = 4000, 768_000
"""Samples a second; sounds with fewer (where no other limit is given) or more are refused."""

MAX_VALUE = 2.0**31
"""The largest value of 32-bit samples that became floats unscaled; more is no sound."""

SILENCE = 2.0**-32
"""A sound whose samples differ by less is silent: the least step of 32-bit samples is twice that."""

MAX_OVERLAP = 0.9

BLOCK_VALUES = 1 << 18
"""Values of all channels that are decoded at a time."""

UNKNOWN_SAMPLES = 1 << 62
"""What libsndfile says of a FLAC file that was written into a pipe."""

WHOLE = 0.9
"""A file that holds a smaller share of the samples that it promises is truncated; MP3 rounds, and may only guess."""

CHUNKED: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
"""The formats (WAV, AIFF) whose files begin with their length, and its byte order."""

MISCOUNTED = 64
"""Bytes that a file may lack: some programs count their header wrong, or a byte of padding that they leave out."""

UNKNOWN_LENGTH = 0x7FFF_0000
"""Lengths from here on are what programs write that cannot know them, such as into a pipe."""


@dataclass(frozen=True)
class SoundSpec:
    """The shape that every sound takes.

    Args:
        spectrum: The rate to which sounds are resampled, the frames and the bands.
        seconds: Length of a window; a shorter sound is filled up with zeros, a longer one gives several windows.
        overlap: What neighbouring windows share, as a share of their length.
        trim: Silence at both ends goes: what is more decibels than this below the loudest frame; None keeps it.
        level: Decibels that the root of the mean square becomes, where 0 is 1.0; None leaves it as it was recorded.

    Raises:
        ValueError: for a value out of its range.
    """

    spectrum: SpectrumSpec
    seconds: float
    overlap: float = 0.0
    trim: float | None = None
    level: float | None = None

    def __post_init__(self) -> None:
        if self.window < self.spectrum.frame:
            raise ValueError(
                f"seconds is {self.seconds}: a window must hold a frame, {self.spectrum.frame_ms / 1000:g} s"
            )
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise ValueError(f"overlap is {self.overlap}: it must be from 0 to {MAX_OVERLAP}")
        if self.trim is not None and not self.trim > 0:
            raise ValueError(f"trim is {self.trim}: give decibels above 0, or null to keep silence")
        if self.level is not None and not math.isfinite(self.level):
            raise ValueError(f"level is {self.level}: give decibels, or null to leave it as it was recorded")

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.seconds * self.spectrum.rate)

    @property
    def hop(self) -> int:
        """Samples from the start of one window to the start of the next."""
        return max(1, round(self.window * (1 - self.overlap)))

    @property
    def shape(self) -> tuple[int, int]:
        """Mels, frames."""
        return self.spectrum.mels, self.spectrum.frames(self.window)


def decode(
    content: Content,
    spec: SoundSpec,
    *,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float = MAX_SECONDS,
    min_rate: int = MIN_RATE,
) -> LogMel:
    """Return the log-mel of the sound's windows: float16 (windows, mels, frames), the same for the same input.

    The waveform of `read_waveform` is trimmed, brought to its level and cut into windows, the last one flush with the
    end. Windows that do not rise above the floor anywhere are left out.

    Args:
        content: An encoded sound.
        spec: The wanted shape.
        min_seconds: Shorter sounds are refused, before and after trimming.
        max_seconds: Longer sounds are refused.
        min_rate: Sounds with fewer samples a second are refused.

    Raises:
        Unreadable: for the reasons of `read_waveform`, or too short once it is trimmed, or below the floor everywhere.
    """
    rate = spec.spectrum.rate
    waveform = read_waveform(content, rate, min_seconds=min_seconds, max_seconds=max_seconds, min_rate=min_rate)
    if spec.trim is not None:
        waveform = trimmed(waveform, frame=spec.spectrum.hop, below=spec.trim)
        _check_length(len(waveform), rate, min_seconds, "after trimming")
    if spec.level is not None:
        waveform = levelled(waveform, spec.level)
    starts = window_starts(len(waveform), window=spec.window, hop=spec.hop)
    windows = np.stack([log_mel(window, spec.spectrum) for window in _windows(waveform, starts, spec.window)])
    heard = (windows > LOG_FLOOR).any(axis=(1, 2))
    if not heard.any():
        raise Unreadable("silent: no band rises above the floor")
    return windows[heard]


def read_waveform(
    content: Content,
    rate: int,
    *,
    min_seconds: float = MIN_SECONDS,
    max_seconds: float = MAX_SECONDS,
    min_rate: int = MIN_RATE,
) -> Waveform:
    """Return the sound as one channel of the wanted rate: float32 (samples,), about -1 to 1.

    The channels are averaged, the rate is changed by soxr's high quality, and the mean over time is taken off. A sound
    is decoded block by block: it takes the memory of its result, not of all its channels at their rate.

    Args:
        content: An encoded sound that libsndfile reads: WAV, FLAC, Ogg, MP3, AIFF and more, any number of channels.
        rate: Samples a second of the result.
        min_seconds: Shorter sounds are refused.
        max_seconds: Longer sounds are refused, undecoded where the file says how long it is.
        min_rate: Sounds with fewer samples a second are refused.

    Raises:
        Unreadable: not a sound, damaged, truncated, too short, too long, too low a rate, silent, or not finite.
    """
    import soundfile

    try:
        with soundfile.SoundFile(_Stream(_encoded(content))) as sound:
            _check_header(sound, max_seconds=max_seconds, min_rate=min_rate)
            return _read(sound, rate, min_seconds=min_seconds, max_seconds=max_seconds)
    except soundfile.SoundFileError as error:
        raise Unreadable(_refusal(error)) from error


def trimmed(waveform: Waveform, *, frame: int, below: float) -> Waveform:
    """Return the waveform without the silence at its ends.

    The energy of frame j is `e[j] = mean(x[j frame : (j + 1) frame] ** 2)`. What stays is from the first to the last
    frame with `10 log10(e[j] / max e) >= -below`, with all that lies between.

    Args:
        waveform: (samples,), at least one.
        frame: Samples of a frame; the last may have fewer.
        below: Decibels, above 0.

    Example:
        >>> trimmed(np.array([0, 0, 0, 1, 0, 1, 0, 0, 0], np.float32), frame=2, below=20)
        array([0., 1., 0., 1.], dtype=float32)
    """
    energies = _energies(waveform, frame)
    loud = np.flatnonzero(energies >= energies.max() * 10 ** (-below / 10))
    return waveform[loud[0] * frame : (loud[-1] + 1) * frame]


def levelled(waveform: Waveform, level: float) -> Waveform:
    """Return the waveform made louder or softer, so that `20 log10 sqrt(mean(x ** 2))` is `level`.

    Example:
        >>> levelled(np.array([0.5, -0.5], np.float32), -20)
        array([ 0.1, -0.1], dtype=float32)
    """
    (energy,) = _energies(waveform, len(waveform))
    return waveform * np.float32(10 ** (level / 20) / np.sqrt(energy))


def window_starts(samples: int, *, window: int, hop: int) -> NDArray[np.int64]:
    """Return where the windows of a sound begin: every `hop` samples, and the last flush with the end.

    A sound no longer than a window has one, from its start.

    Args:
        samples: Length of the sound.
        window: Length of a window.
        hop: From start to start.

    Raises:
        ValueError: when a number is below 1, or the hop leaves out samples.

    Example:
        >>> window_starts(10, window=4, hop=4)
        array([0, 4, 6])
    """
    if not (samples >= 1 and 1 <= hop <= window):
        raise ValueError(f"1 <= hop <= window must hold for 1 sample or more, given {hop=}, {window=}, {samples=}")
    last = max(0, samples - window)
    return np.append(np.arange(0, last, hop, dtype=np.int64), last)


def _windows(waveform: Waveform, starts: NDArray[np.int64], window: int) -> Iterator[Waveform]:
    """Yield the windows, one of a short sound filled up with zeros."""
    for start in starts:
        piece = waveform[start : start + window]
        yield np.pad(piece, (0, window - len(piece)))


def _energies(waveform: Waveform, frame: int) -> NDArray[np.float64]:
    """Return the mean square of each frame: (ceil(samples / frame),)."""
    whole = len(waveform) // frame * frame
    frames = waveform[:whole].reshape(-1, frame)
    energies = np.einsum("tn,tn->t", frames, frames, dtype=np.float64) / frame
    rest = waveform[whole:].astype(np.float64)
    return np.append(energies, np.square(rest).mean()) if len(rest) else energies


def _encoded(content: Content) -> bytes:
    if isinstance(content, np.ndarray):
        raise Unreadable(f"a sound must be an encoded file, given an array {content.dtype} {content.shape}")
    if not content:
        raise Unreadable("empty file")
    order = CHUNKED.get(content[:4])
    length = 8 + int.from_bytes(content[4:8], order) if order else 0
    if len(content) + MISCOUNTED < length < UNKNOWN_LENGTH:
        raise Unreadable(f"truncated: {len(content)} bytes, and its header says {length}")
    return content


class _Stream(io.BytesIO):
    """Bytes where seeking to before the start, as libsndfile does in some damaged files, is seeking to the start."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


def _check_header(sound: "SoundFile", *, max_seconds: float, min_rate: int) -> None:
    if sound.samplerate < min_rate:
        raise Unreadable(f"sampled at {sound.samplerate} Hz, less than {min_rate}")
    if sound.samplerate > MAX_RATE:
        raise Unreadable(f"sampled at {sound.samplerate} Hz, more than {MAX_RATE}")
    if sound.frames < UNKNOWN_SAMPLES:
        _check_most(sound.frames, sound.samplerate, max_seconds)


def _check_most(samples: int, rate: int, max_seconds: float) -> None:
    if samples > max_seconds * rate:
        raise Unreadable(f"{samples // rate} s or more, and at most {max_seconds:g} s are taken")


def _check_samples(samples: int, *, promised: int) -> None:
    if samples == 0:
        raise Unreadable("holds no samples")
    if samples < WHOLE * promised and promised < UNKNOWN_SAMPLES:
        raise Unreadable(f"truncated: {samples} samples, and its header says {promised}")


def _check_length(samples: int, rate: int, min_seconds: float, when: str = "long") -> None:
    # To the millisecond, because resampling rounds the length.
    given, least = (round(1000 * seconds) for seconds in (samples / rate, min_seconds))
    if given < least:
        raise Unreadable(f"{given} ms {when}, less than {least}")


def _read(sound: "SoundFile", rate: int, *, min_seconds: float, max_seconds: float) -> Waveform:
    import soxr

    stream = soxr.ResampleStream(sound.samplerate, rate, 1) if sound.samplerate != rate else None
    pieces, samples, lows, highs = [], 0, [], []
    for block in _blocks(sound):
        samples += len(block)
        _check_most(samples, sound.samplerate, max_seconds)
        lows.append(block.min())
        highs.append(block.max())
        pieces.append(stream.resample_chunk(block) if stream else block)
    _check_samples(samples, promised=sound.frames)
    _check_length(samples, sound.samplerate, min_seconds)
    if stream:
        pieces.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    waveform: Waveform = np.concatenate(pieces)
    # A constant sound rings at its ends where the rate is changed, so what came in is looked at too.
    if min(max(highs) - min(lows), np.ptp(waveform)) < SILENCE:
        raise Unreadable("silent: all its samples have the same value")
    waveform -= waveform.mean(dtype=np.float64)
    return waveform


def _blocks(sound: "SoundFile") -> Iterator[Waveform]:
    """Yield the mean of the channels, block by block: (samples,)."""
    # Else soundfile seeks after every read, where FLAC of unknown length fails, and stops where the header says.
    sound.seekable = lambda: False
    most = max(1, BLOCK_VALUES // sound.channels)
    while len(block := sound.read(most, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise Unreadable("holds values that are not finite numbers")
        if np.abs(block).max() > MAX_VALUE:
            raise Unreadable(f"holds values above {MAX_VALUE:.0f}, where 1 is full scale")
        mono: Waveform = block.mean(axis=1, dtype=np.float32)
        yield mono


def _refusal(error: Exception) -> str:
    """Return libsndfile's message without the object's address, which differs from run to run."""
    text = " ".join(re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "data", str(error)).split()).removeprefix("Error opening data: ")
    if re.search("not recognised|unknown format|unimplemented format|not a regular file", text, re.IGNORECASE):
        return "not a sound that libsndfile can read"
    return f"damaged sound: {text}"[:200]
