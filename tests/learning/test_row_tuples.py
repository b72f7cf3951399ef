from __future__ import annotations

import pytest
import torch

from likewise.learning.row_tuples import PairTuples, TripletTuples


def test_columns_of_other_lengths_are_refused() -> None:
    rows = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"one length, and these are .*'same': \(1,\)"):
        PairTuples(rows, rows, torch.tensor([1]))
    with pytest.raises(ValueError, match="one-dimensional"):
        TripletTuples(rows[None], rows[None], rows[None])


def test_length_and_device() -> None:
    rows = torch.tensor([0, 1, 2])
    pairs, triplets = PairTuples(rows, rows, rows > 0).to("cpu"), TripletTuples(rows, rows, rows).to("meta")
    assert len(pairs) == len(triplets) == 3
    assert triplets.negative.device.type == "meta"


def test_pairs_of_triplets_are_each_there_once() -> None:
    triplets = TripletTuples(torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1]), torch.tensor([2, 2, 3]))
    pairs = triplets.pairs()
    rows = set(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.same.tolist(), strict=True))
    assert rows == {(0, 1, 1), (0, 2, 0), (1, 2, 0), (0, 3, 0)}
    assert len(pairs) == 4
