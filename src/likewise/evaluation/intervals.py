"""How far a figure may be off: 95 % intervals."""

import math

import numpy as np
from numpy.typing import NDArray

# The 97.5 % point of the normal distribution.
Z = 1.959963984540054


def share_interval(share: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of independent trials, which stays within 0 and 1.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> share_interval(1.0, 100)
    (0.963..., 1.0)
    """
    if not (0 <= share <= 1 and trials > 0):
        raise ValueError(f"a share lies between 0 and 1 of some trials, not at {share} of {trials}")
    stretch = 1 + Z**2 / trials
    middle = (share + Z**2 / (2 * trials)) / stretch
    half = Z / stretch * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(shares: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of independent shares, such as the accuracies of episodes.

    Wilson's interval for as many trials as give the observed variance of the mean. With plenty of data it is
    the normal interval, mean +- 1.96 s / sqrt(n); unlike that it keeps a width where every share is 1.

    >>> mean_interval(np.array([1.0, 0.8, 1.0, 0.9]))
    (0.7..., 0.97...)
    """
    mean, count = float(shares.mean()), shares.size
    variance = float(shares.var(ddof=1)) / count if count > 1 else 0.0
    return share_interval(mean, mean * (1 - mean) / variance if variance > 0 else count)
