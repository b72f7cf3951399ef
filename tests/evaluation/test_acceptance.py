from __future__ import annotations

import numpy as np
import pytest

from likewise.evaluation import acceptance, openset
from likewise.evaluation.acceptance import Acceptance


def people(count: int, *, each: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    centres = draw.normal(0, 4, (count, 5))
    points = np.repeat(centres, each, axis=0) + draw.normal(0, 1, (count * each, 5))
    return points, np.repeat(np.arange(count), each)


def choose(points: np.ndarray, names: np.ndarray, fars: list[float]) -> Acceptance | None:
    return acceptance.choose(points, names, distance="euclidean", split="val", fars=fars, shots=2, seed=1)


def test_so_many_strangers_pass_as_the_rate_allows() -> None:
    points, names = people(20)
    found = choose(points, names, [0.25, 0.1, 0.001])
    assert found is not None
    gallery, probes = openset.enrol(points, names, shots=2, seed=1)
    enrolled = set(names[gallery])
    best = [
        max(-np.linalg.norm(points[probe] - points[row]) for row in gallery)
        for probe in probes
        if names[probe] not in enrolled
    ]
    assert (found.strangers, found.classes, found.shots) == (len(best), len(enrolled), 2)
    # 40 strangers show no rate of one in a thousand.
    assert found.fars == [0.25, 0.1]
    for far, threshold in zip(found.fars, found.thresholds, strict=True):
        assert sum(score >= threshold for score in best) == int(far * len(best))


def test_too_few_classes_or_strangers_choose_nothing() -> None:
    points, names = people(20)
    assert choose(points[:4], names[:4], [0.1]) is None
    assert choose(points, names, [0.001]) is None


def test_it_comes_back_from_json_and_knows_its_distance() -> None:
    found = choose(*people(20), [0.25])
    assert found is not None
    assert Acceptance.from_dict(found.to_dict()) == found
    found.check("euclidean")
    with pytest.raises(ValueError, match="this open-set threshold belongs to euclidean scores"):
        found.check("cosine")
    with pytest.raises(ValueError, match=r"not a stored Acceptance: missing \['fars'\]"):
        Acceptance.from_dict({key: value for key, value in found.to_dict().items() if key != "fars"})
