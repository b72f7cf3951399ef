from __future__ import annotations

from itertools import combinations
from math import dist

import numpy as np
import pytest
from scipy import stats

from likewise.evaluation import drift
from likewise.evaluation.drift import DIMENSIONS, POOR, SCORES, UNKNOWN, WHOLE, Answer, Rate, Side


def normal(seed: int, count: int, width: int = 4, *, shift: float = 0.0, spread: float = 1.0) -> drift.Vectors:
    return np.random.default_rng(seed).normal(shift, spread, (count, width)).astype(np.float32)


def energy_by_loops(x: list[list[float]], y: list[list[float]]) -> tuple[float, float]:
    """Return E and the coefficient, from the definition."""
    between = [dist(a, b) for a in x for b in y]
    first, second = [dist(a, b) for a in x for b in x], [dist(a, b) for a in y for b in y]
    mean = sum(between) / len(between)
    found = 2 * mean - sum(first) / len(first) - sum(second) / len(second)
    return found, found / (2 * mean)


def test_energy_is_that_of_a_loop_over_all_pairs() -> None:
    for seed in range(5):
        x, y = normal(seed, 7, 3), normal(seed + 50, 5, 3, shift=0.7)
        wanted = energy_by_loops(x.tolist(), y.tolist())[1]
        assert drift.energy(x, y, permutations=9, seed=0).effect == pytest.approx(wanted, rel=1e-6)


def test_energy_of_numbers_is_the_square_of_scipys() -> None:
    x, y = normal(0, 30, 1), normal(1, 40, 1, spread=2.0)
    wanted = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    between = np.abs(x - y[:, 0]).mean()
    assert drift.energy(x, y, permutations=9, seed=0).effect == pytest.approx(wanted / (2 * between), rel=1e-5)


def test_the_permutation_test_is_near_that_of_all_divisions() -> None:
    x, y = normal(3, 5, 2), normal(4, 4, 2, shift=0.8)
    everything = np.concatenate([x, y]).tolist()
    own = energy_by_loops(x.tolist(), y.tolist())[0]
    divisions = [
        energy_by_loops([v for i, v in enumerate(everything) if i not in chosen], [everything[i] for i in chosen])[0]
        for chosen in combinations(range(9), 4)
    ]
    exact = np.mean([each >= own - 1e-12 for each in divisions])
    found = drift.energy(x, y, permutations=3999, seed=0).p
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))


def test_p_values_are_uniform_where_nothing_drifted() -> None:
    draws = range(200)
    energies = [drift.energy(normal(s, 12), normal(s + 1000, 15), permutations=99, seed=s).p for s in draws]
    assert stats.kstest(energies, "uniform").pvalue > 0.01
    for level in (0.05, 0.2):
        assert np.mean([p <= level for p in energies]) <= level + 3 * np.sqrt(level * (1 - level) / 200)
    strongest = [drift.strongest(drift.dimensions(normal(s, 40), normal(s + 1000, 40))).p for s in draws]
    # The test of Kolmogorov and Smirnov is careful with few samples: it may err on the safe side only.
    assert np.mean([p <= 0.1 for p in strongest]) <= 0.1 + 3 * np.sqrt(0.09 / 200)


def test_holm_is_that_of_stepping_down() -> None:
    """Reject the smallest at level / n, the next at level / (n - 1), and so on until one is not rejected."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        p = np.round(draw.random(draw.integers(1, 7)) ** 3, 3).tolist()
        level = float(draw.choice([0.01, 0.05, 0.2]))
        rejected = [False] * len(p)
        for step, place in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
            if p[place] > level / (len(p) - step):
                break
            rejected[place] = True
        found = drift.holm(p)
        near = [abs(each - level) < 1e-12 for each in found]
        assert all(n or (f <= level) == r for f, r, n in zip(found, rejected, near, strict=True))
        assert all(f >= own - 1e-15 for f, own in zip(found, p, strict=True))


def test_rates_and_dimensions_are_scipys() -> None:
    found, table = drift.rates(Rate(3, 100), Rate(12, 100)), [[12, 88], [3, 97]]
    assert found.effect == pytest.approx(0.09)
    assert found.p == pytest.approx(stats.fisher_exact(table).pvalue)
    fewer = drift.rates(Rate(12, 100), Rate(3, 100), alternative="more")
    assert fewer.effect == 0
    assert fewer.p > 0.9
    x, y = normal(0, 20), normal(1, 25)
    for column, each in enumerate(drift.dimensions(x, y)):
        wanted = stats.ks_2samp(x[:, column], y[:, column])
        assert (each.effect, each.p) == (wanted.statistic, wanted.pvalue)


def side(seed: int, count: int = 400, *, shift: float = 0.0, unknown: int = 20, poor: int = 1) -> Side:
    embeddings = normal(seed, count, 8)
    embeddings[:, 0] += shift
    return Side(embeddings, embeddings[:, 1].astype(np.float64), Rate(unknown, count), Rate(poor, count))


def drifted(findings: list[drift.Finding]) -> set[str]:
    return {finding.question for finding in findings if finding.drifted}


def test_false_alarms_are_as_rare_as_the_level() -> None:
    alarms = [
        bool(drifted(drift.compare(side(s, 60), side(s + 500, 60), level=0.1, permutations=99, seed=s)))
        for s in range(100)
    ]
    assert np.mean(alarms) <= 0.1 + 3 * np.sqrt(0.09 / 100)


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (side(1), set()),
        (side(1, shift=0.6), {DIMENSIONS, WHOLE}),
        (side(1, unknown=120), {UNKNOWN}),
        (side(1, poor=40), {POOR}),
        (Side(side(1).embeddings, side(1).scores - 0.5, Rate(20, 400), Rate(0, 400)), {SCORES}),
    ],
)
def test_what_has_drifted_is_found_and_nothing_else(new: Side, found: set[str]) -> None:
    assert drifted(drift.compare(side(0), new)) == found


def test_power_grows_with_the_shift() -> None:
    power = [
        np.mean(
            [
                drift.energy(normal(s, 60), normal(s + 99, 60, shift=shift), permutations=99, seed=s).p <= 0.05
                for s in range(40)
            ]
        )
        for shift in (0.1, 0.3, 0.5)
    ]
    assert power[0] < power[1] < power[2]
    assert power[2] > 0.95


def test_a_difference_too_small_to_matter_is_no_drift() -> None:
    many = side(0, 20_000), side(1, 20_000, shift=0.08)
    found = {each.question: each for each in drift.compare(*many, permutations=499, most=300)}
    assert found[DIMENSIONS].p < 0.01
    assert found[DIMENSIONS].effect < 0.1
    assert not found[DIMENSIONS].drifted


def test_the_same_seed_gives_the_same_and_order_does_not_matter_to_the_effect() -> None:
    x, y = normal(0, 50), normal(1, 50, shift=0.3)
    once = drift.energy(x, y, permutations=99, most=20, seed=7)
    assert once == drift.energy(x, y, permutations=99, most=20, seed=7)
    whole = drift.energy(x, y, permutations=9, seed=0).effect
    assert drift.energy(x[::-1], y[::-1], permutations=9, seed=0).effect == pytest.approx(whole)


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^1 and 5 embeddings: a comparison needs two or more a side$"):
        drift.energy(normal(0, 1), normal(1, 5), permutations=9, seed=0)
    with pytest.raises(ValueError, match=r"^permutations: given 99; a level of 0\.01 for 5 tests needs 500 or more$"):
        drift.compare(side(0), side(1), permutations=99)
    same = np.ones((3, 2), dtype=np.float32)
    assert drift.energy(same, same, permutations=9, seed=0) == Answer(0.0, 1.0)
