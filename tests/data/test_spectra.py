from __future__ import annotations

import cmath
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.data import spectra
from likewise.data.spectra import (
    FLOOR,
    LOG_FLOOR,
    SpectrumSpec,
    Waveform,
    hertz,
    log_mel,
    mel,
    mel_filters,
    power_spectra,
)
from tests.data.recordings import hiss, tone

SPEC = SpectrumSpec(rate=8000)


def naive_powers(waveform: NDArray[np.floating], *, frame: int, hop: int, fft: int) -> NDArray[np.float64]:
    """The transform by its definition: frames, frequencies and samples in three loops."""
    window = [math.sin(math.pi * n / frame) ** 2 for n in range(frame)]
    starts = range(0, len(waveform) - frame + 1, hop)
    powers = np.zeros((len(starts), fft // 2 + 1))
    for row, start in enumerate(starts):
        mean = sum(float(waveform[start + n]) for n in range(frame)) / frame
        for k in range(fft // 2 + 1):
            total = 0j
            for n in range(frame):
                total += window[n] * (float(waveform[start + n]) - mean) * cmath.exp(-2j * math.pi * k * n / fft)
            powers[row, k] = abs(total) ** 2 / sum(each**2 for each in window)
    return powers


def textbook_filters(*, rate: int, fft: int, mels: int, lowest: float, highest: float) -> NDArray[np.float64]:
    """The bands one weight at a time, with the natural logarithm's constant."""

    def to_mel(frequency: float) -> float:
        return 1127.01048 * math.log1p(frequency / 700)

    def to_hertz(pitch: float) -> float:
        return 700 * math.expm1(pitch / 1127.01048)

    step = (to_mel(highest) - to_mel(lowest)) / (mels + 1)
    corners = [to_hertz(to_mel(lowest) + step * i) for i in range(mels + 2)]
    weights = np.zeros((mels, fft // 2 + 1))
    for m in range(mels):
        left, centre, right = corners[m : m + 3]
        for k in range(fft // 2 + 1):
            frequency = k * rate / fft
            if left < frequency <= centre:
                weights[m, k] = (frequency - left) / (centre - left)
            elif centre < frequency < right:
                weights[m, k] = (right - frequency) / (right - centre)
    return weights


def wave(seed: int = 0, *, seconds: float = 0.5, height: float = 0.1) -> Waveform:
    return hiss(seed, seconds=seconds, height=height).astype(np.float32)


@pytest.mark.parametrize(("frame", "hop", "fft"), [(8, 3, 8), (6, 6, 16), (5, 9, 8), (2, 1, 2)])
def test_powers_against_the_definition(frame: int, hop: int, fft: int) -> None:
    samples = wave()[:31]
    found = power_spectra(samples, frame=frame, hop=hop, fft=fft)
    np.testing.assert_allclose(found, naive_powers(samples, frame=frame, hop=hop, fft=fft), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("frame", "hop", "fft"), [(200, 80, 256), (400, 160, 512), (256, 256, 256)])
def test_powers_against_torch(frame: int, hop: int, fft: int) -> None:
    samples = wave(1)
    found = power_spectra(samples, frame=frame, hop=hop, fft=fft)
    window = torch.hann_window(frame, dtype=torch.float64)
    for row, powers in enumerate(found):
        # One frame at a time: torch lays a window shorter than its transform in the middle, where only phases differ.
        piece = torch.from_numpy(samples[row * hop : row * hop + frame]).double()
        filled = torch.nn.functional.pad(piece - piece.mean(), ((fft - frame) // 2, fft - frame - (fft - frame) // 2))
        wanted = torch.stft(filled, fft, fft, frame, window, center=False, return_complex=True)[:, 0].abs() ** 2
        np.testing.assert_allclose(powers, (wanted / window.square().sum()).numpy(), rtol=1e-7, atol=1e-12)


def test_parseval() -> None:
    samples = wave(2)[:200].astype(np.float64)
    (powers,) = power_spectra(samples, frame=200, hop=80, fft=256)
    # Every frequency but the first and the last stands for two of the transform's.
    both = powers[0] + powers[-1] + 2 * powers[1:-1].sum()
    window = np.sin(np.pi * np.arange(200) / 200) ** 2
    assert both / 256 == pytest.approx(
        np.square(window * (samples - samples.mean())).sum() / np.square(window).sum(), rel=1e-12
    )


@pytest.mark.parametrize("frame", [100, 200, 333])
def test_white_noise_has_its_variance_at_every_frequency(frame: int) -> None:
    samples = hiss(3, seconds=60, height=0.1)
    powers = power_spectra(samples, frame=frame, hop=frame, fft=512).mean(axis=0)
    # Each frame's mean was taken off, which is the noise at the lowest frequencies.
    assert np.abs(powers[16:-4] / 0.01 - 1).max() < 0.35
    assert powers[16:-4].mean() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(
    ("rate", "fft", "mels", "lowest", "highest"),
    [(8000, 256, 40, 20.0, 4000.0), (16000, 512, 80, 0.0, 8000.0), (16000, 512, 23, 300.0, 3400.0), (8, 8, 1, 1.0, 3)],
)
def test_filters_against_the_textbook(rate: int, fft: int, mels: int, lowest: float, highest: float) -> None:
    options = {"rate": rate, "fft": fft, "mels": mels, "lowest": lowest, "highest": highest}
    found = mel_filters(**options)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, textbook_filters(**options), atol=1e-4)  # type: ignore[arg-type]


def test_neighbouring_filters_share_what_lies_between_them() -> None:
    filters = mel_filters(rate=8000, fft=256, mels=20, lowest=100.0, highest=3500.0)
    corners = hertz(np.linspace(mel(100.0), mel(3500.0), 22))
    frequencies = np.arange(129) * 8000 / 256
    inner = (frequencies >= corners[1]) & (frequencies <= corners[-2])
    np.testing.assert_allclose(filters.sum(axis=0)[inner], 1)
    assert not filters[:, (frequencies < 100) | (frequencies > 3500)].any()


@given(st.floats(0, 1e5))
def test_mel_and_hertz_are_inverse(frequency: float) -> None:
    assert hertz(mel(frequency)) == pytest.approx(frequency, abs=1e-6)


def test_log_mel_against_loops() -> None:
    spec = SpectrumSpec(rate=1000, mels=6, frame_ms=16, hop_ms=7, lowest=30, highest=450)
    samples = wave(4)[:100]
    powers = naive_powers(samples, frame=16, hop=7, fft=16)
    bands = textbook_filters(rate=1000, fft=16, mels=6, lowest=30, highest=450)
    found = log_mel(samples, spec)
    assert found.dtype == np.float16
    assert found.shape == (6, 13) == (6, spec.frames(100))
    for m in range(6):
        for t in range(13):
            power = sum(bands[m, k] * powers[t, k] for k in range(9))
            assert found[m, t] == pytest.approx(math.log(max(power, FLOOR)), abs=0.01)


@pytest.mark.parametrize("band", range(8, 40))
def test_a_tone_is_loudest_in_its_band(band: int) -> None:
    corners = hertz(np.linspace(mel(SPEC.lowest), mel(SPEC.top), SPEC.mels + 2))
    found = log_mel(tone(float(corners[band + 1])).astype(np.float32), SPEC)
    assert (found.argmax(axis=0) == band).all()


def test_twice_as_loud_is_log_4_more() -> None:
    samples = wave(5)
    soft, loud = log_mel(samples, SPEC), log_mel(2 * samples, SPEC)
    assert soft.min() > LOG_FLOOR
    np.testing.assert_allclose(loud.astype(float) - soft, math.log(4), atol=0.01)


def test_the_floor() -> None:
    assert float(np.float16(math.log(FLOOR))) == LOG_FLOOR
    silence = log_mel(np.zeros(800, np.float32), SPEC)
    assert (silence == LOG_FLOOR).all()
    faint = log_mel(wave(height=1e-4), SPEC)
    assert faint.min() == LOG_FLOOR
    assert faint.max() > LOG_FLOOR


def test_what_is_constant_is_silent() -> None:
    assert (log_mel(np.full(800, 0.3, np.float32), SPEC) == LOG_FLOOR).all()
    samples = wave(10)
    np.testing.assert_allclose(log_mel(samples + np.float32(0.3), SPEC), log_mel(samples, SPEC), atol=0.02)


def test_a_delay_of_whole_hops_moves_the_frames() -> None:
    samples = wave(6)
    late = np.concatenate([np.zeros(3 * SPEC.hop, np.float32), samples])
    np.testing.assert_array_equal(log_mel(late, SPEC)[:, 3:], log_mel(samples, SPEC))


@pytest.mark.parametrize("block", [1, 7, 48, 49])
def test_the_block_does_not_matter(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = wave(7)
    wanted = log_mel(samples, SPEC)
    monkeypatch.setattr(spectra, "BLOCK_FRAMES", block)
    np.testing.assert_array_equal(log_mel(samples, SPEC), wanted)


def test_a_long_sound_takes_little_memory() -> None:
    samples = np.tile(wave(8), 600)
    tracemalloc.start()
    found = log_mel(samples, SPEC)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (40, 29998)
    assert peak < found.nbytes + (4 << 20)


@given(samples=st.integers(1, 2000), frame=st.integers(2, 300), hop=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_every_whole_frame_is_counted(samples: int, frame: int, hop: int) -> None:
    spec = SpectrumSpec(rate=1000, mels=1, frame_ms=frame, hop_ms=hop, lowest=0)
    wanted = len([start for start in range(0, samples, hop) if start + frame <= samples])
    assert spec.frames(samples) == wanted
    if wanted:
        assert log_mel(np.ones(samples, np.float32), spec).shape == (1, wanted)


def test_defaults_are_those_of_speech() -> None:
    spec = SpectrumSpec(rate=16000)
    assert (spec.frame, spec.hop, spec.fft, spec.mels, spec.top) == (400, 160, 512, 40, 8000)
    assert spec.filters.shape == (40, 257)
    assert SpectrumSpec(rate=1000, mels=1, frame_ms=256).fft == 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate and mels must be at least 1"),
        ({"mels": 0}, "rate and mels must be at least 1"),
        ({"frame_ms": 0.1}, "a frame needs 2 samples"),
        ({"hop_ms": 0.01}, "a frame needs 2 samples and a hop 1"),
        ({"lowest": -1.0}, "0 <= lowest < highest <= rate / 2"),
        ({"lowest": 4000.0}, "0 <= lowest < highest <= rate / 2"),
        ({"highest": 4001.0}, "0 <= lowest < highest <= rate / 2"),
        ({"mels": 150}, r"band \d+ of 150 holds none of the transform's frequencies, which are 31.25 Hz apart"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrumSpec(**{"rate": 8000} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(199,), (0,), (2, 8000)])
def test_other_arrays_than_a_waveform_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one axis and at least 200 samples"):
        log_mel(np.zeros(shape, np.float32), SPEC)
