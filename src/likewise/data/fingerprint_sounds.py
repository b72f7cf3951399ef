"""Fingerprints of sounds: 256 bits in which copies that were softened, recompressed or shifted hardly differ."""

from __future__ import annotations

import math

import numpy as np

from likewise.data.fingerprint_base import Numbers, Words, blocks, cosine, cosines, packed
from likewise.data.spectra import LogMel

BITS = 256
KEPT = 0.9
"""Share of the bands that counts, from the lowest: encoders thin out the highest."""

RANGE = 30 * math.log(10) / 10
"""What lies more than 30 dB below the loudest band is silence; in the natural logarithm of the power."""

LEVELS = 64
"""Steps to a unit of the logarithm."""

RIPPLES = 32
MODULATIONS = 8
CYCLE = 128
"""Frames of a cycle of the slowest modulation."""


def sound_fingerprints(sounds: LogMel) -> Words:
    """Return 256 bits of each sound's log-mel (n, mels, frames), uint64 (n, 4).

    S is what the lower nine tenths of the bands hold above the loudest less 30 dB, in whole steps of 1/64. Over its M
    bands the ripples c(u, t) = sum_m S(m, t) cos(pi u (2m + 1) / (2M)) are taken, u = 1 to 32: the shape of the
    spectrum without its level. How each changes in time is read from the modulation spectrum
    E(u, k) = |sum_t c(u, t) exp(-2 pi i t (2k + 1) / 128)|^2, which does not depend on where the sound begins. Bit
    8 (u - 1) + k is 1 where E(u, k + 1) > E(u, k), for k = 0 to 7.

    The modulation spectrum as a fingerprint is of Sukittanon and Atlas, Modulation frequency features for audio
    fingerprinting, 2002; bits by the sign of differences between neighbours are of Haitsma and Kalker, A highly robust
    audio fingerprinting system, 2002. Fewer than 36 bands tell sounds less well apart.

    >>> chirp = np.eye(40, 90, dtype=np.float16)[None] * np.float16(9)
    >>> later = np.roll(chirp, 7, axis=2)
    >>> int(np.bitwise_count(sound_fingerprints(chirp) ^ sound_fingerprints(later)).sum())
    0
    """
    return np.concatenate([np.zeros((0, BITS // 64), np.uint64), *map(_block, blocks(sounds))])


def _block(sounds: LogMel) -> Words:
    count, mels, frames = sounds.shape
    bands = max(1, int(mels * KEPT))
    heard = sounds[:, :bands].astype(np.float64)
    above = heard - heard.max(axis=(1, 2), keepdims=True) + RANGE
    steps = np.rint(LEVELS * np.maximum(above, 0))
    # All sums are of whole numbers below 2^53: exact in any order.
    ripples = cosines(np.arange(1, RIPPLES + 1), bands) @ steps
    power = _modulation(ripples.reshape(-1, frames)).reshape(count, RIPPLES, MODULATIONS + 1)
    return packed((np.diff(power, axis=2) > 0).reshape(count, BITS))


def _modulation(rows: Numbers) -> Numbers:
    """Return the power of rows (n, frames) at the modulations (n, 9)."""
    turns = np.outer(np.arange(rows.shape[1]), (2 * np.arange(MODULATIONS + 1) + 1) / CYCLE)
    # A quarter of a turn later a cosine is a sine.
    return np.square(rows @ cosine(turns)) + np.square(rows @ cosine(turns - 0.25))
