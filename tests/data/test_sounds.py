from __future__ import annotations

import math
import pickle
import tracemalloc
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import signal

from likewise.data import sounds
from likewise.data.raw import Content
from likewise.data.sounds import (
    MAX_SECONDS,
    SoundSpec,
    Unreadable,
    decode,
    levelled,
    read_waveform,
    trimmed,
    window_starts,
)
from likewise.data.spectra import LOG_FLOOR, SpectrumSpec, Waveform, log_mel
from tests.data.pictures import encoded as picture
from tests.data.pictures import noise
from tests.data.recordings import Samples, encoded, flac_saying, hiss, tone
from tests.real import real

RATE = 8000
SPECTRUM = SpectrumSpec(rate=RATE)
SPEC = SoundSpec(SPECTRUM, seconds=1.0)

LOSSLESS = [
    *[("WAV", subtype, bits) for subtype, bits in {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 24}.items()],
    *[("WAV", "FLOAT", 24), ("WAV", "DOUBLE", 24), ("WAVEX", "PCM_16", 16), ("RF64", "PCM_16", 16)],
    *[("FLAC", "PCM_S8", 8), ("FLAC", "PCM_16", 16), ("FLAC", "PCM_24", 24)],
    *[("AIFF", "PCM_S8", 8), ("AIFF", "PCM_16", 16), ("AIFF", "PCM_24", 24), ("AIFF", "FLOAT", 24)],
    *[("AU", "PCM_16", 16), ("CAF", "ALAC_16", 16), ("W64", "PCM_24", 24), ("NIST", "PCM_16", 16)],
]
LOSSY = [
    *[("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
    *[("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610")],
]


def reason(content: Content, spec: SoundSpec = SPEC, **limits: float) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(content, spec, **limits)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert " at 0x" not in message
    return message


def centred(samples: Samples) -> Samples:
    return np.asarray(samples - samples.mean())


@pytest.mark.parametrize(("kind", "subtype", "bits"), LOSSLESS)
def test_lossless_formats_keep_every_sample(kind: str, subtype: str, bits: int) -> None:
    samples = hiss(1)
    found = read_waveform(encoded(samples, kind, subtype), RATE)
    assert found.dtype == np.float32
    assert found.shape == samples.shape
    np.testing.assert_allclose(found, centred(samples), atol=2.0 ** (1 - bits), rtol=0)


@pytest.mark.parametrize(("kind", "subtype"), LOSSY)
def test_lossy_formats_are_near(kind: str, subtype: str) -> None:
    samples = tone(440.0, seconds=1.0)
    found = read_waveform(encoded(samples, kind, subtype), RATE)[: len(samples)]
    assert len(found) >= 0.97 * len(samples)
    assert np.corrcoef(found, samples[: len(found)])[0, 1] > 0.98


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels: int) -> None:
    samples = np.stack([hiss(seed) for seed in range(channels)], axis=1)
    found = read_waveform(encoded(samples, "WAV", "FLOAT"), RATE)
    np.testing.assert_allclose(found, centred(samples.mean(axis=1)), atol=1e-6)


def test_the_mean_is_taken_off() -> None:
    found = read_waveform(encoded(hiss(1, seconds=20) + 0.3, "WAV", "FLOAT"), RATE)
    assert abs(found.mean(dtype=np.float64)) < 1e-7
    np.testing.assert_allclose(found, centred(hiss(1, seconds=20)), atol=1e-6)


@pytest.mark.parametrize(("given", "wanted"), [(44100, 16000), (48000, 8000), (8000, 16000), (11025, 8000)])
def test_another_rate_keeps_a_tone(given: int, wanted: int) -> None:
    content = encoded(tone(1000.0, rate=given, seconds=1.0), "WAV", "FLOAT", rate=given)
    found = read_waveform(content, wanted)
    assert abs(len(found) - wanted) <= 1
    middle = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(found[middle], tone(1000.0, rate=wanted, seconds=1.0)[: len(found)][middle], atol=1e-3)


def test_another_rate_against_scipy() -> None:
    samples = np.convolve(hiss(2, rate=16000, seconds=1.0), signal.firwin(301, 2500, fs=16000), "same")
    found = read_waveform(encoded(samples, "WAV", "FLOAT", rate=16000), RATE)
    wanted = centred(signal.resample_poly(samples, 1, 2))
    np.testing.assert_allclose(found[100:-100], wanted[100:-100], atol=2e-3 * np.abs(wanted).max())


def test_what_a_lower_rate_cannot_hold_is_filtered_out() -> None:
    content = encoded(tone(6000.0, rate=16000, seconds=1.0), "WAV", "FLOAT", rate=16000)
    assert np.abs(read_waveform(content, RATE)[400:-400]).max() < 1e-4


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_the_block_does_not_matter(kind: str, subtype: str, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(np.stack([hiss(1), hiss(2)], axis=1), kind, subtype)
    wanted = read_waveform(content, rate)
    monkeypatch.setattr(sounds, "BLOCK_VALUES", 999)
    np.testing.assert_array_equal(read_waveform(content, rate), wanted)


def test_mp3_in_blocks_is_the_same_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(hiss(1), "MP3")
    wanted = read_waveform(content, RATE)
    monkeypatch.setattr(sounds, "BLOCK_VALUES", 999)
    np.testing.assert_allclose(read_waveform(content, RATE), wanted, atol=1e-6)


def test_many_channels_take_little_memory() -> None:
    content = encoded(np.repeat(hiss(1, seconds=30)[:, None], 8, axis=1), "FLAC", "PCM_16")
    tracemalloc.start()
    found = read_waveform(content, RATE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All channels as float32 would be eight times the result.
    assert peak < 3 * found.nbytes + (4 << 20)


def test_lengths_that_their_writer_did_not_know() -> None:
    samples = hiss(1)
    flac = encoded(samples, "FLAC", "PCM_16")
    wav = encoded(samples, "WAV", "PCM_16")
    unknown = b"\xff" * 4
    piped = wav[:4] + unknown + wav[8:40] + unknown + wav[44:]
    for content, known in ((flac_saying(flac, 0), flac), (piped, wav)):
        assert content != known
        np.testing.assert_array_equal(read_waveform(content, RATE), read_waveform(known, RATE))


def test_a_header_that_counts_a_few_bytes_too_many_is_taken() -> None:
    content = encoded(hiss(1), "WAV", "PCM_16")
    wrong = content[:4] + (len(content)).to_bytes(4, "little") + content[8:]
    np.testing.assert_array_equal(read_waveform(wrong, RATE), read_waveform(content, RATE))


def tail(seconds: float) -> Samples:
    """A click, and faint noise after it."""
    samples = 1e-4 * hiss(1, seconds=seconds)
    samples[:20] = 0.9
    return samples


GOOD = encoded(hiss(1, seconds=1.0), "WAV", "PCM_16")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"hello", "not a sound that libsndfile can read"),
        (b"\xff\xfb" + bytes(range(256)) * 9, "not a sound that libsndfile can read"),
        (picture(noise(1)), "not a sound that libsndfile can read"),
        (picture(noise(1), "JPEG"), "not a sound that libsndfile can read"),
        (noise(1), "a sound must be an encoded file, given an array uint8 (12, 10)"),
        (GOOD[:9000], "truncated: 9000 bytes, and its header says 16044"),
        (encoded(hiss(1), "AIFF")[:5000], "truncated: 5000 bytes, and its header says 8054"),
        (encoded(hiss(1), "FLAC")[:3000], "damaged sound: Error : flac decoder lost sync."),
        (flac_saying(encoded(hiss(1), "FLAC"), 5000), "truncated: 4000 samples, and its header says 5000"),
        (encoded(np.zeros(0)), "holds no samples"),
        (encoded(hiss(1, seconds=0.09)), "90 ms long, less than 100"),
        (encoded(np.zeros(4000)), "silent: all its samples have the same value"),
        (encoded(np.full(4000, 0.25)), "silent: all its samples have the same value"),
        (encoded(np.full(22050, 0.25), rate=44100), "silent: all its samples have the same value"),
        (encoded(np.stack([hiss(1), -hiss(1)], 1), "WAV", "FLOAT"), "silent: all its samples have the same value"),
        (encoded(1e-5 * hiss(1), "WAV", "FLOAT"), "silent: no band rises above the floor"),
        (encoded(np.append(hiss(1), np.nan), "WAV", "FLOAT"), "holds values that are not finite numbers"),
        (encoded(np.append(hiss(1), -np.inf), "WAV", "FLOAT"), "holds values that are not finite numbers"),
        (encoded(np.append(hiss(1), 1e300), "WAV", "DOUBLE"), "holds values that are not finite numbers"),
        (encoded(np.append(hiss(1), -1e10), "WAV", "FLOAT"), "holds values above 2147483648, where 1 is full scale"),
        (encoded(hiss(1), rate=3999), "sampled at 3999 Hz, less than 4000"),
        (encoded(hiss(1), rate=800_000), "sampled at 800000 Hz, more than 768000"),
    ],
)
def test_what_is_no_sound_is_refused(content: Content, message: str) -> None:
    assert reason(content) == message


def test_limits_are_what_was_asked_for() -> None:
    content = encoded(hiss(1, seconds=2.0))
    assert reason(content, min_seconds=2.001) == "2000 ms long, less than 2001"
    assert reason(content, max_seconds=1.5) == "2 s or more, and at most 1.5 s are taken"
    assert reason(content, min_rate=8001) == "sampled at 8000 Hz, less than 8001"
    assert decode(content, SPEC, min_seconds=2.0, max_seconds=2.0, min_rate=8000).shape == (2, 40, 98)


def test_a_click_is_too_short_once_it_is_trimmed() -> None:
    content = encoded(tail(1.0), "WAV", "FLOAT")
    assert reason(content, SoundSpec(SPECTRUM, seconds=1.0, trim=40)) == "10 ms after trimming, less than 100"
    assert decode(content, SPEC).shape == (1, 40, 98)


def test_a_header_that_claims_hours_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "_blocks", None)
    content = flac_saying(encoded(hiss(1), "FLAC"), 10 * 3600 * RATE)
    assert reason(content) == f"36000 s or more, and at most {MAX_SECONDS:g} s are taken"


def test_a_bomb_of_unknown_length_is_refused_when_it_is_long_enough() -> None:
    content = encoded(np.zeros(120 * RATE), "FLAC", "PCM_16")
    assert len(content) < 120 * RATE // 100
    message = reason(flac_saying(content, 0), max_seconds=30)
    assert message == "32 s or more, and at most 30 s are taken"


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_files_decode_or_are_refused(data: st.DataObject) -> None:
    kind, subtype = data.draw(st.sampled_from([("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AU", None)]))
    content = bytearray(encoded(hiss(1), kind, subtype))
    for place in data.draw(st.lists(st.integers(0, 200), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    found = None
    with suppress(Unreadable):
        found = decode(bytes(content[:cut]), SPEC)
    if found is not None:
        assert found.shape[1:] == SPEC.shape
        assert np.isfinite(found).all()


def loop_trimmed(waveform: Waveform, *, frame: int, below: float) -> Waveform:
    frames = [waveform[start : start + frame].astype(float) for start in range(0, len(waveform), frame)]
    energies = [sum(value**2 for value in each) / len(each) for each in frames]
    kept = [i for i, energy in enumerate(energies) if energy >= max(energies) * 10 ** (-below / 10)]
    return waveform[kept[0] * frame : (kept[-1] + 1) * frame]


@given(
    waveform=arrays.arrays(np.float32, st.integers(1, 60), elements=st.integers(-8, 8).map(lambda x: x / 8)),
    frame=st.integers(1, 9),
    below=st.floats(0.1, 30),
)
@settings(max_examples=100, deadline=None)
def test_trimming_against_a_loop(waveform: Waveform, frame: int, below: float) -> None:
    np.testing.assert_array_equal(
        trimmed(waveform, frame=frame, below=below), loop_trimmed(waveform, frame=frame, below=below)
    )


def test_trimming_keeps_silence_between_sounds() -> None:
    quiet = np.zeros(4000, np.float32)
    word = tone(440.0).astype(np.float32)
    found = trimmed(np.concatenate([quiet, word, quiet, word, quiet]), frame=80, below=40)
    np.testing.assert_array_equal(found, np.concatenate([word, quiet, word]))
    np.testing.assert_array_equal(trimmed(quiet, frame=80, below=40), quiet)


@given(samples=st.integers(1, 500), window=st.integers(1, 90), share=st.floats(0, 1))
def test_windows_cover_a_sound_and_end_with_it(samples: int, window: int, share: float) -> None:
    hop = max(1, round(window * share))
    starts = window_starts(samples, window=window, hop=hop)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= hop).all()
    assert (starts[:-1] == np.arange(len(starts) - 1) * hop).all()
    if samples > window:
        assert starts[-1] + window == samples
    else:
        assert starts.tolist() == [0]
    covered = {place for start in starts for place in range(start, start + window)}
    assert covered >= set(range(samples))


@pytest.mark.parametrize(("samples", "window", "hop"), [(0, 4, 2), (9, 4, 0), (9, 4, 5), (9, 0, 0)])
def test_windows_that_leave_gaps_are_refused(samples: int, window: int, hop: int) -> None:
    with pytest.raises(ValueError, match="1 <= hop <= window must hold"):
        window_starts(samples, window=window, hop=hop)


def test_a_long_sound_gives_overlapping_windows() -> None:
    content = encoded(hiss(3, seconds=2.7), "WAV", "FLOAT")
    found = decode(content, SoundSpec(SPECTRUM, seconds=1.0, overlap=0.5))
    waveform = read_waveform(content, RATE)
    starts = [0, 4000, 8000, 12000, 13600]
    assert found.dtype == np.float16
    assert found.shape == (5, 40, 98)
    for window, start in zip(found, starts, strict=True):
        np.testing.assert_array_equal(window, log_mel(waveform[start : start + 8000], SPECTRUM))


def test_a_short_sound_is_filled_up_with_silence() -> None:
    (found,) = decode(encoded(hiss(4, seconds=0.4), "WAV", "FLOAT"), SPEC)
    assert found.shape == SPEC.shape == (40, 98)
    # Frames from 0.4 s on hold nothing; those that end before it are full.
    assert (found[:, 40:] == LOG_FLOOR).all()
    assert (found[:, :38] > LOG_FLOOR).all()


def test_windows_of_silence_are_left_out() -> None:
    samples = np.concatenate([hiss(1, seconds=1.0), np.zeros(16000), hiss(2, seconds=1.0)])
    content = encoded(samples, "WAV", "FLOAT")
    waveform = read_waveform(content, RATE)
    wanted = [log_mel(waveform[start : start + 8000], SPECTRUM) for start in (0, 24000)]
    np.testing.assert_array_equal(decode(content, SPEC), np.stack(wanted))


def test_the_level_makes_loud_and_soft_alike() -> None:
    loud, soft = (encoded(hiss(5) * each, "WAV", "FLOAT") for each in (1, 1 / 8))
    as_recorded = [decode(each, SPEC)[0, :, :45].astype(float) for each in (loud, soft)]
    np.testing.assert_allclose(as_recorded[0] - as_recorded[1], math.log(64), atol=0.02)
    level = SoundSpec(SPECTRUM, seconds=1.0, level=-20)
    np.testing.assert_allclose(decode(loud, level), decode(soft, level), atol=0.02)


@pytest.mark.parametrize("level", [-60.0, -20.0, 0.0])
def test_the_level_is_that_of_the_root_of_the_mean_square(level: float) -> None:
    found = levelled(hiss(6).astype(np.float32), level)
    assert found.dtype == np.float32
    assert 20 * math.log10(np.sqrt(np.square(found, dtype=np.float64).mean())) == pytest.approx(level, abs=1e-4)


def test_the_same_bytes_again_in_another_process_too() -> None:
    decoder = pickle.loads(pickle.dumps(partial(decode, spec=SoundSpec(SPECTRUM, seconds=0.5, trim=40, level=-20))))
    content = encoded(hiss(7, rate=44100), "OGG", rate=44100)
    assert decoder(content).tobytes() == decoder(content).tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.02}, "seconds is 0.02: a window must hold a frame, 0.025 s"),
        ({"overlap": 1.0}, "overlap is 1.0: it must be from 0 to 0.9"),
        ({"overlap": -0.1}, "overlap is -0.1: it must be from 0 to 0.9"),
        ({"overlap": math.nan}, "overlap is nan"),
        ({"trim": 0.0}, "trim is 0.0: give decibels above 0"),
        ({"trim": math.nan}, "trim is nan"),
        ({"level": math.inf}, "level is inf: give decibels"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoundSpec(SPECTRUM, **{"seconds": 1.0} | options)


def test_real_speech() -> None:
    files = sorted(Path(real("fsdd") / "recordings").glob("*.wav"))[::25]
    assert len(files) > 100
    spec = SoundSpec(SPECTRUM, seconds=1.0, overlap=0.5, trim=40, level=-20)
    windows = [decode(file.read_bytes(), spec) for file in files]
    assert {each.shape[1:] for each in windows} == {(40, 98)}
    found = np.concatenate(windows).astype(np.float64)
    # Vowels lie between 200 and 1,000 Hz (bands 4 to 17), and are far above what lies from 3,400 Hz on.
    heard = found.mean(axis=(0, 2))
    assert heard[4:18].mean() > heard[36:].mean() + 0.5
    assert found.max() < 6
    assert 0.4 < (found == LOG_FLOOR).mean() < 0.7
