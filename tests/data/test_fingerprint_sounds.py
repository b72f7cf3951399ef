from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from likewise.data import fingerprint_base, kinds
from likewise.data.fingerprint_base import Words
from likewise.data.fingerprint_sounds import sound_fingerprints
from likewise.data.hamming import differing
from likewise.data.spectra import LOG_FLOOR
from tests.data.recordings import Samples, encoded, hiss, tone
from tests.real import real

RATE = 8000
NEAR = 48
"""What the recipes say."""

PREPROCESSING = kinds.build("audio", rate=RATE, seconds=1.0, overlap=0.5)


def prints(*contents: bytes) -> Words:
    return sound_fingerprints(np.stack([PREPROCESSING.rows(content)[0] for content in contents]))


def copies(sound: Samples) -> Iterator[tuple[str, bytes]]:
    """The same sound as people pass it on."""
    late = np.concatenate([np.zeros(RATE // 50), sound])
    yield "6 dB softer", encoded(sound / 2)
    yield "FLAC", encoded(sound, "FLAC", "PCM_16")
    yield "Ogg Vorbis", encoded(sound, "OGG", "VORBIS")
    yield "Ogg Opus", encoded(sound, "OGG", "OPUS")
    yield "MP3", encoded(sound, "MP3", "MPEG_LAYER_III")
    yield "at 16 kHz", encoded(soxr.resample(sound, RATE, 2 * RATE), rate=2 * RATE)
    yield "to 16 kHz and back", encoded(soxr.resample(soxr.resample(sound, RATE, 2 * RATE), 2 * RATE, RATE))
    yield "20 ms later", encoded(late)
    yield "without its first 20 ms", encoded(sound[RATE // 50 :])
    yield "softer and later as MP3", encoded(late / 2, "MP3", "MPEG_LAYER_III")


def oracle(sound: NDArray[np.float16]) -> int:
    """The definition in loops, with Python's whole numbers."""
    mels, frames = sound.shape
    bands = int(mels * 0.9)
    heard = [[float(sound[m, t]) for t in range(frames)] for m in range(bands)]
    top = max(map(max, heard))
    steps = [[round(64 * max(value - top + 3 * math.log(10), 0)) for value in row] for row in heard]
    place = word = 0
    for u in range(1, 33):
        wave = [round(1024 * math.cos(math.pi * u * (2 * m + 1) / (2 * bands))) for m in range(bands)]
        ripple = [sum(wave[m] * steps[m][t] for m in range(bands)) for t in range(frames)]
        power = []
        for k in range(9):
            turns = [2 * math.pi * t * (2 * k + 1) / 128 for t in range(frames)]
            real_part = sum(c * round(1024 * math.cos(a)) for c, a in zip(ripple, turns, strict=True))
            imaginary = sum(c * round(1024 * math.sin(a)) for c, a in zip(ripple, turns, strict=True))
            power.append(real_part**2 + imaginary**2)
        for k in range(8):
            word |= (power[k + 1] > power[k]) << place
            place += 1
    return word


@pytest.mark.parametrize(("mels", "frames"), [(40, 30), (23, 70), (5, 4)])
def test_it_is_the_definition(mels: int, frames: int) -> None:
    sound = np.random.default_rng(mels).uniform(LOG_FLOOR, 2, (1, mels, frames)).astype(np.float16)
    word = oracle(sound[0])
    assert sound_fingerprints(sound).tolist() == [[word >> 64 * w & 2**64 - 1 for w in range(4)]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = np.random.default_rng(0).uniform(LOG_FLOOR, 2, (7, 40, 30)).astype(np.float16)
    whole = sound_fingerprints(sounds)
    assert whole.dtype == np.uint64
    monkeypatch.setattr(fingerprint_base, "BLOCK_VALUES", 2500)
    assert sound_fingerprints(sounds).tolist() == whole.tolist()
    assert sound_fingerprints(sounds[:0]).shape == (0, 4)


def test_made_sounds_are_told_apart_and_their_copies_are_not() -> None:
    sounds = [
        np.concatenate([tone(300, seconds=0.2), hiss(1, seconds=0.3)]),
        np.concatenate([hiss(2, seconds=0.3), tone(300, seconds=0.2)]),
        tone(300) * np.sin(np.arange(4000) / 300),
    ]
    originals = prints(*map(encoded, sounds))
    for number, sound in enumerate(sounds):
        softer = prints(encoded(sound / 4))
        assert differing(softer, originals[number])[0] <= 4
    assert min(differing(originals[one], originals[other]) for one, other in ((0, 1), (0, 2), (1, 2))) > NEAR


def test_copies_of_recordings_are_found_and_other_takes_are_not() -> None:
    folder = real("fsdd") / "recordings"
    names = [f"{digit}_{who}_{take}.wav" for digit in (0, 3, 6, 9) for who in ("jackson", "theo") for take in range(4)]
    sounds = [soundfile.read(folder / name)[0] for name in names]
    originals = prints(*((folder / name).read_bytes() for name in names))
    apart = differing(originals[:, None], originals)
    assert apart[~np.eye(len(names), dtype=bool)].min() > NEAR
    changed: dict[str, list[bytes]] = {}
    for sound in sounds:
        for how, content in copies(sound):
            changed.setdefault(how, []).append(content)
    for how, contents in changed.items():
        found = differing(prints(*contents), originals) <= NEAR
        assert found.mean() >= 31 / 32, how


def test_neither_the_level_nor_the_beginning_matters_where_nothing_is_cut_off() -> None:
    sound = np.full((1, 40, 200), LOG_FLOOR, np.float16)
    sound[0, :, 20:90] = np.random.default_rng(0).uniform(-6, 0, (40, 70))
    later = np.roll(sound, 77, axis=2)
    softer = np.maximum(sound - np.float16(2), np.float16(LOG_FLOOR))
    assert differing(sound_fingerprints(later), sound_fingerprints(sound)).tolist() == [0]
    assert differing(sound_fingerprints(softer), sound_fingerprints(sound))[0] <= 2
