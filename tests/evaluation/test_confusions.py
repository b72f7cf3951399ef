from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from likewise import distances
from likewise.evaluation import confusions as module
from likewise.evaluation.confusions import confusions

Array = NDArray[Any]


@pytest.mark.parametrize("block", [1, 100, 2**22])
@pytest.mark.parametrize("distance", ["euclidean", "cosine", "manhattan"])
def test_by_a_loop(block: int, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    generator = np.random.default_rng(0)
    embeddings, labels = generator.standard_normal((40, 3)), generator.choice(list("abcd"), 40)
    apart: Array = distances.build(distance).pairwise(torch.from_numpy(embeddings)).numpy()
    counted: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for row in range(40):
        near = min((column for column in range(40) if column != row), key=apart[row].__getitem__)
        if labels[row] != labels[near]:
            counted.setdefault((labels[row], labels[near]), []).append((apart[row, near], row, near))
    found = confusions(embeddings, labels, distance=distance)
    assert found.wrong == sum(len(each) for each in counted.values())
    assert found.table["samples"].is_monotonic_decreasing
    for name, taken_for, samples, of, left, right in found.table.itertuples(index=False):
        each = counted.pop((name, taken_for))
        assert samples == len(each)
        assert of == (labels == name).sum()
        assert (left, right) == min(each)[1:]
    assert not counted


def test_no_confusion_and_classes_of_one() -> None:
    found = confusions(
        np.array([[0.0], [0.1], [9.0], [9.1], [5.0]]), ["a", "a", "b", "b", "alone"], distance="euclidean"
    )
    assert (len(found.table), found.wrong, found.samples) == (0, 0, 5)
    assert list(found.table) == ["class", "taken_for", "samples", "of", "left", "right"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="hold NaN"):
        confusions(np.array([[np.nan], [1.0]]), ["a", "b"], distance="euclidean")
    with pytest.raises(ValueError, match="labels are missing"):
        confusions(np.ones((2, 1)), np.array(["a", None]), distance="euclidean")
