from collections.abc import Mapping
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.evaluation import bootstrap, measures
from likewise.evaluation.measures import MEASURES, Measure
from likewise.evaluation.verification import roc_from_trials

Array = NDArray[Any]
Trials = tuple[Array, Array, Array, Array]
ALL = MEASURES | {
    "tar": measures.tar_at_far(0.2),
    "accuracy": measures.accuracy(0.25),
    "far": measures.false_accept_rate(0.25),
    "frr": measures.false_reject_rate(0.25),
}


def all_pairs(seed: int, *, classes: int = 8, size: int = 3, steps: float = 4) -> Trials:
    """All pairs of some classes, scores rounded so that ties are many; some classes are harder than others."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), size)
    spread = generator.gamma(1.0, size=classes)[labels, None]
    points = generator.normal(size=(classes, 2))[labels] + spread * generator.normal(size=(labels.size, 2)) / 2
    left, right = np.array(list(combinations(range(labels.size), 2))).T
    scores = -np.round(np.linalg.norm(points[left] - points[right], axis=1) * steps) / steps
    return scores, (labels[left] == labels[right]).astype(int), labels[left], labels[right]


def drawn_classes(classes: Array, *, resamples: int, seed: int) -> list[dict[Any, int]]:
    """The draws as the module makes them: as many classes as there are, uniformly and with replacement."""
    generator = np.random.Generator(np.random.Philox(seed))
    draws = [generator.integers(classes.size, size=classes.size) for _ in range(resamples)]
    return [{name: draw.tolist().count(place) for place, name in enumerate(classes)} for draw in draws]


def repeated(trials: Trials, counts: dict[Any, int]) -> list[int]:
    """Trial by trial, as many times as its classes were drawn."""
    places = []
    for place, (one, other) in enumerate(zip(trials[2], trials[3], strict=True)):
        times = counts[one] if one == other else counts[one] * counts[other]
        places += [place] * times
    return places


def by_loops(trials: Trials, known: Mapping[str, Measure], *, resamples: int, seed: int) -> dict[str, list[float]]:
    """Replicate the trials of each resample and ask the ordinary ROC."""
    values: dict[str, list[float]] = {name: [] for name in known}
    names = np.unique(np.concatenate(trials[2:]))
    for counts in drawn_classes(names, resamples=resamples, seed=seed):
        places = repeated(trials, counts)
        if len(set(trials[1][places].tolist())) == 2:
            roc = roc_from_trials(trials[0][places], trials[1][places])
            for name, measure in known.items():
                values[name].append(measure.of(roc))
    return values


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_intervals_are_those_of_replicated_trials(seed: int) -> None:
    trials = all_pairs(seed)
    found = bootstrap.intervals(*trials, ALL, resamples=60, level=0.9, seed=seed)
    expected = by_loops(trials, ALL, resamples=60, seed=seed)
    whole = roc_from_trials(trials[0], trials[1])
    for name, interval in found.items():
        assert interval is not None
        ends = np.quantile(expected[name], [0.05, 0.95])
        assert [interval.low, interval.high] == pytest.approx(ends.tolist(), abs=1e-12), name
        assert interval.value == ALL[name].of(whole)
        assert (interval.level, interval.resamples, interval.classes) == (0.9, len(expected[name]), 8)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_list_of_trials_by_loops(data: st.DataObject) -> None:
    """Classes without genuine trials, trials listed twice, and impostors inside a class, such as forgeries."""
    size = data.draw(st.integers(30, 60))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    left, right = generator.integers(0, 12, (2, size))
    right = np.where(generator.random(size) < 0.5, left, right)
    same = ((left == right) & (generator.random(size) < 0.8)).astype(int)
    names = np.array(list("abcdefghijkl"))
    trials = generator.integers(-3, 4, size) / 4.0, same, names[left], names[right]
    known = {"auc": MEASURES["auc"]}
    expected = by_loops(trials, known, resamples=40, seed=1)["auc"]
    if len(expected) < 38:
        with pytest.raises(
            ValueError, match=r"of the 40 resamples .* hold no genuine or no impostor trial|none of the"
        ):
            bootstrap.intervals(*trials, known, resamples=40, seed=1)
        return
    found = bootstrap.intervals(*trials, known, resamples=40, seed=1)["auc"]
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(expected, [0.025, 0.975]).tolist(), abs=1e-12)


def test_neither_the_order_nor_the_side_of_the_trials_matters() -> None:
    scores, same, left, right = all_pairs(3)
    order = np.random.default_rng(0).permutation(scores.size)
    swapped = np.arange(scores.size) % 2 == 0
    one, other = np.where(swapped, right, left), np.where(swapped, left, right)
    shuffled = bootstrap.intervals(scores[order], same[order], one[order], other[order], ALL, resamples=50, seed=4)
    assert shuffled == bootstrap.intervals(scores, same, left, right, ALL, resamples=50, seed=4)


def test_tensors_and_names_give_the_same_as_arrays() -> None:
    # Steps so coarse that half precision holds every score.
    scores, same, left, right = all_pairs(3, steps=2)
    known = {"auc": MEASURES["auc"]}
    expected = bootstrap.intervals(scores, same, left, right, known, resamples=50, seed=4)
    one, other = torch.from_numpy(left), torch.from_numpy(right)
    tensors = torch.from_numpy(scores).to(torch.bfloat16), torch.from_numpy(same == 1)
    assert bootstrap.intervals(*tensors, one, other, known, resamples=50, seed=4) == expected
    names = [np.array([f"class {number}" for number in side]) for side in (left, right)]
    assert bootstrap.intervals(scores, same, names[0], names[1], known, resamples=50, seed=4) == expected


def test_another_seed_is_another_draw_and_the_same_seed_the_same() -> None:
    trials = all_pairs(5)
    found = [bootstrap.intervals(*trials, MEASURES, resamples=50, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_what_the_trials_cannot_show_has_no_interval() -> None:
    trials = all_pairs(0)
    known = {"fine": measures.tar_at_far(1e-6), "auc": MEASURES["auc"]}
    found = bootstrap.intervals(*trials, known, resamples=40, seed=0)
    assert found["fine"] is None
    assert found["auc"] is not None
    compared = bootstrap.compare(trials[0], trials[0], *trials[1:], known, resamples=40, seed=0)
    assert compared["fine"] is None
    assert compared["auc"] is not None


def test_a_rate_that_is_just_measurable_stays_so_in_resamples_with_fewer_impostors() -> None:
    trials = all_pairs(6)
    least = 1 / float(np.count_nonzero(trials[1] == 0))
    found = bootstrap.intervals(*trials, {"tar": measures.tar_at_far(least)}, resamples=60, seed=0)["tar"]
    assert found is not None
    assert found.resamples == 60


def test_a_comparison_is_made_on_the_same_resamples() -> None:
    first, same, left, right = all_pairs(0)
    second = all_pairs(0, steps=1)[0] + np.random.default_rng(1).normal(size=first.size) / 2
    found = bootstrap.compare(first, second, same, left, right, ALL, resamples=60, level=0.8, seed=2)
    ones = by_loops((first, same, left, right), ALL, resamples=60, seed=2)
    others = by_loops((second, same, left, right), ALL, resamples=60, seed=2)
    for name, result in found.items():
        assert result is not None
        pairs = list(zip(ones[name], others[name], strict=True))
        ends = np.quantile([one - other for one, other in pairs], [0.1, 0.9])
        assert [result.difference.low, result.difference.high] == pytest.approx(ends.tolist(), abs=1e-12)
        assert result.difference.value == result.first - result.second
        assert result.first_better == np.mean([ALL[name].better(one, other) for one, other in pairs])
        assert result.second_better == np.mean([ALL[name].better(other, one) for one, other in pairs])


def test_each_model_may_bring_its_own_threshold() -> None:
    scores, same, left, right = all_pairs(1)
    both = {"accuracy": (measures.accuracy(-0.5), measures.accuracy(-50.0))}
    found = bootstrap.compare(scores, 100 * scores, same, left, right, both, resamples=40, seed=0)["accuracy"]
    assert found is not None
    assert (found.difference.low, found.difference.high) == (0.0, 0.0)
    assert (found.first_better, found.second_better) == (0.0, 0.0)


def test_separated_kinds_have_an_interval_without_width() -> None:
    _, same, left, right = all_pairs(1)
    found = bootstrap.intervals(same.astype(float), same, left, right, MEASURES, resamples=40, seed=0)
    assert {(each.low, each.high) for each in found.values() if each} == {(0.0, 0.0), (1.0, 1.0)}


def test_the_interval_covers_the_truth_and_one_over_trials_does_not() -> None:
    """Classes whose genuine scores are low have high impostor scores; the AUC follows from normal distributions."""
    from scipy.stats import norm

    covered = np.zeros(2)
    repeats, classes = 60, 20
    left, right = np.array(list(combinations_with_replacement(range(classes), 2))).repeat(4, axis=0).T
    same = left == right
    # Genuine 1.5 - 2 a_c + e, impostor a_c + a_d + e: a of variance 1, e of a quarter.
    truth = norm.cdf(1.5 / np.sqrt(4 + 2 + 0.25 + 0.25))
    for seed in range(repeats):
        generator = np.random.default_rng(seed)
        effect = generator.normal(size=classes)
        scores = (effect[left] + effect[right]) * (1 - 2 * same) + generator.normal(size=left.size) / 2 + 1.5 * same
        found = bootstrap.intervals(scores, same, left, right, {"auc": MEASURES["auc"]}, resamples=80, seed=seed)["auc"]
        places = generator.integers(left.size, size=(80, left.size))
        naive = np.quantile([roc_from_trials(scores[p], same[p]).auc for p in places], [0.025, 0.975])
        assert found is not None
        covered += [found.low <= truth <= found.high, naive[0] <= truth <= naive[1]]
    assert covered[0] >= 0.8 * repeats
    assert covered[1] <= 0.7 * repeats


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left": ["a"] * 4, "right": ["a"] * 4}, "all trials are of one class"),
        ({"left": ["a", "b", "c"]}, "4 trials came with classes of shape .3,."),
        ({"left": ["a", "c", "c", "d"]}, "1 genuine trials join two classes"),
        ({"left": ["a", None, "c", "d"]}, "1 of the 8 labels are missing"),
        ({"scores": [1.0, float("nan"), 0.0, 0.0]}, "1 of the 4 scores are NaN"),
        ({"same": [1, 1, 1, 1], "right": ["a", "b", "c", "d"]}, "none of the 4 trials is impostor"),
        ({"resamples": 39}, "39 resamples cannot show an interval at level 0.95; it takes at least 40"),
        ({"level": 1.0}, "between 0 and 1, not 1.0"),
        ({"left": ["a", "b", "a", "a"], "right": ["a", "b", "b", "b"]}, "hold no genuine or no impostor trial"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "scores": [0.9, 0.8, 0.1, 0.2],
        "same": [1, 1, 0, 0],
        "left": ["a", "b", "c", "d"],
        "right": ["a", "b", "d", "a"],
        "measures": MEASURES,
        "resamples": 100,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=message):
        bootstrap.intervals(**(good | change))


@pytest.mark.parametrize("right", [["a", "a", "a", "a"], ["a", "a", "b", "b"]])
def test_too_few_classes_are_told_from_bad_input(right: list[str]) -> None:
    with pytest.raises(bootstrap.TooFewClassesError):
        bootstrap.intervals([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], ["a"] * 4, right, MEASURES, seed=0)


def test_measures_that_point_in_different_ways_are_not_compared() -> None:
    scores, same, left, right = all_pairs(0)
    mixed = {"odd": (MEASURES["auc"], MEASURES["eer"])}
    with pytest.raises(ValueError, match="'odd' differ in which way is better"):
        bootstrap.compare(scores, scores, same, left, right, mixed, resamples=40, seed=0)
