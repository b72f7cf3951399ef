import numpy as np
import pytest
from scipy.stats import binomtest, norm

from likewise.evaluation.intervals import mean_interval, share_interval


@pytest.mark.parametrize(("right", "trials"), [(0, 10), (3, 10), (99, 100), (50, 50)])
def test_share_interval_is_wilsons(right: int, trials: int) -> None:
    expected = binomtest(right, trials).proportion_ci(method="wilson")
    assert share_interval(right / trials, trials) == pytest.approx((expected.low, expected.high))


def test_mean_interval_is_the_normal_one_with_plenty_of_data() -> None:
    shares = np.random.default_rng(0).choice([0.6, 0.8, 1.0], size=20_000)
    low, high = norm.interval(0.95, shares.mean(), shares.std(ddof=1) / np.sqrt(shares.size))
    assert mean_interval(shares) == pytest.approx((low, high), abs=1e-5)


def test_mean_interval_keeps_a_width_without_variance() -> None:
    assert mean_interval(np.ones(100)) == share_interval(1.0, 100)
    assert mean_interval(np.array([0.5])) == share_interval(0.5, 1)


@pytest.mark.parametrize(("share", "trials"), [(1.1, 5), (-0.1, 5), (0.5, 0)])
def test_what_is_no_share_is_refused(share: float, trials: int) -> None:
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        share_interval(share, trials)
