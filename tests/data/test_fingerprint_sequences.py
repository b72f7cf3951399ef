from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.data import fingerprint_base
from likewise.data.fingerprint_base import Words, scattered
from likewise.data.fingerprint_sequences import sequence_fingerprints
from likewise.data.hamming import differing
from likewise.data.sequences import SequenceSpec, decode

Curve = NDArray[np.float64]

NEAR = 8
"""What params.yaml advises."""


def strokes(seed: int, *, points: int = 90) -> Curve:
    """A pen's path (points, 2): a few slow waves."""
    draw = np.random.default_rng(seed)
    times = np.linspace(0, 1, points)[:, None]
    waves = [np.sin(2 * np.pi * (k * times + draw.uniform(size=2))) * draw.normal(size=2) / k for k in range(1, 7)]
    return np.asarray(sum(waves))


def stretched(curve: Curve, points: int) -> Curve:
    at = np.linspace(0, len(curve) - 1, points)
    return np.stack([np.interp(at, np.arange(len(curve)), column) for column in curve.T], axis=1)


def prints(*curves: Curve, differences: bool = False) -> Words:
    spec = SequenceSpec(64, 2, differences=differences)
    return sequence_fingerprints(np.stack([decode(curve, spec) for curve in curves]))


def oracle(sequence: NDArray[np.float32]) -> int:
    """The definition in loops, with Python's whole numbers."""
    channels, points = sequence.shape
    spans = [float(row.max()) - float(row.min()) for row in sequence]
    widest = max(spans) or 1.0
    numbers = []
    for row in sequence:
        middle = (float(row.min()) + float(row.max())) / 2
        steps = [round((float(value) - middle) / widest * 2048) for value in row]
        for k in range(1, 17):
            wave = [round(1024 * math.cos(math.pi * k * (2 * i + 1) / (2 * points))) for i in range(points)]
            numbers.append(k * sum(x * w for x, w in zip(steps, wave, strict=True)))
    planes = scattered(np.arange(16 * channels, dtype=np.uint64), 4).tolist()
    word = 0
    for bit in range(256):
        signs = [1 if row[bit // 64] >> bit % 64 & 1 else -1 for row in planes]
        word |= (sum(sign * number for sign, number in zip(signs, numbers, strict=True)) > 0) << bit
    return word


@pytest.mark.parametrize(("channels", "points"), [(1, 50), (3, 20), (2, 2)])
def test_it_is_the_definition(channels: int, points: int) -> None:
    sequence = np.random.default_rng(channels).normal(3, 2, (1, channels, points)).astype(np.float32)
    word = oracle(sequence[0])
    assert sequence_fingerprints(sequence).tolist() == [[word >> 64 * w & 2**64 - 1 for w in range(4)]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = np.random.default_rng(0).normal(size=(7, 2, 40)).astype(np.float32)
    whole = sequence_fingerprints(sequences)
    assert whole.dtype == np.uint64
    monkeypatch.setattr(fingerprint_base, "BLOCK_VALUES", 200)
    assert sequence_fingerprints(sequences).tolist() == whole.tolist()
    assert sequence_fingerprints(sequences[:0]).shape == (0, 4)


def test_a_constant_sequence_has_no_bit() -> None:
    assert sequence_fingerprints(np.full((1, 2, 9), 5.0, np.float32)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("differences", [False, True])
def test_copies_are_near_and_other_curves_are_not(differences: bool) -> None:
    curves = [strokes(seed) for seed in range(12)]
    originals = prints(*curves, differences=differences)
    assert differing(originals[:, None], originals)[~np.eye(12, dtype=bool)].min() > 3 * NEAR
    noise = np.random.default_rng(0).normal(size=(90, 2))
    for changed in (
        [4 * curve - 9 for curve in curves],
        [stretched(curve, 151) for curve in curves],
        [stretched(curve, 61) for curve in curves],
        [curve.round(2) for curve in curves],
        [curve + 0.005 * noise for curve in curves],
    ):
        assert differing(prints(*changed, differences=differences), originals).max() <= NEAR


def test_bits_tell_the_angle() -> None:
    draw = np.random.default_rng(1)
    one, across = (draw.normal(size=16) for _ in range(2))
    across -= one * (one @ across) / (one @ one)
    across *= np.linalg.norm(one) / np.linalg.norm(across)
    waves = [np.cos(np.pi * k * (2 * np.arange(400) + 1) / 800) / k for k in range(1, 17)]
    angles = np.array([0, 0.1, 0.3, 1.0, np.pi / 2])
    curves = [(math.cos(a) * one + math.sin(a) * across) @ np.array(waves) for a in angles]
    found = sequence_fingerprints(np.array(curves)[:, None])
    shares = differing(found, found[0]) / 256
    # Four deviations of a share of 256 bits.
    assert (abs(shares - angles / np.pi) < 4 * np.sqrt(angles / np.pi * (1 - angles / np.pi) / 256) + 0.01).all()
