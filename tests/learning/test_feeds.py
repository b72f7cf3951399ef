from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from likewise.learning import feeds
from likewise.learning.feeds import Batch, Feed
from likewise.learning.row_tuples import PairTuples, TripletTuples

# Media row 0 is a sample of another split, without a class here; the ids are in no order.
IDS = pd.Index(["out", "b1", "a0", "c0", "a1", "b0", "c1", "a2"])
LABELS = np.array([-1, 1, 0, 2, 0, 1, 2, 0])
CLASSES = pd.DataFrame({"id": ["a0", "a1", "a2", "b0", "b1", "c0", "c1"], "class": list("aaabbcc")})
PAIRS = pd.DataFrame(
    {
        "left": ["a0", "b0", "c0", "a1", "b1"],
        "right": ["a1", "b1", "a0", "c1", "a2"],
        "same": np.array([1, 1, 0, 0, 0], dtype=np.int8),
    }
)
TRIPLETS = pd.DataFrame(
    {
        "anchor": ["a0", "a0", "b0", "c1", "a1"],
        "positive": ["a1", "a2", "b1", "c0", "a0"],
        "negative": ["b0", "c1", "a0", "a1", "c0"],
    }
)
TABLES = {"classes": CLASSES, "pairs": PAIRS, "triplets": TRIPLETS}


def build(name: str, *, table: pd.DataFrame | None = None, seed: int = 0, **changes: int) -> Feed:
    settings: dict[str, Any] = {"batch_size": 2, "classes_per_batch": 2, "samples_per_class": 2, **changes}
    return feeds.build(name, TABLES[name] if table is None else table, IDS, LABELS, seed=seed, **settings)


def batches(feed: Feed, epoch: int) -> list[Batch]:
    count, found = feed.epoch(epoch)
    listed = list(found)
    assert len(listed) == count
    return listed


def told(batch: Batch) -> list[tuple[Any, ...]]:
    """The tuples of a batch as the ids they point to."""
    names = IDS[batch.samples]
    if isinstance(batch.tuples, PairTuples):
        pairs = batch.tuples
        columns = [names[pairs.left.numpy()], names[pairs.right.numpy()], pairs.same.numpy()]
    else:
        assert isinstance(batch.tuples, TripletTuples)
        triplets = batch.tuples
        columns = [names[side.numpy()] for side in (triplets.anchor, triplets.positive, triplets.negative)]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("name", ["pairs", "triplets"])
def test_every_tuple_comes_once_an_epoch_and_points_to_its_own_samples(name: str) -> None:
    for epoch in (1, 2):
        found = batches(build(name), epoch)
        assert [len(told(batch)) for batch in found] == [2, 2, 1]
        assert sorted(row for batch in found for row in told(batch)) == sorted(
            TABLES[name].itertuples(index=False, name=None)
        )


@pytest.mark.parametrize("name", ["pairs", "triplets"])
def test_a_sample_is_embedded_once_a_batch(name: str) -> None:
    (batch,) = batches(build(name, batch_size=5), 1)
    assert len(np.unique(batch.samples)) == len(batch.samples)
    assert set(IDS[batch.samples]) == set(TABLES[name].drop(columns="same", errors="ignore").to_numpy().ravel())


@pytest.mark.parametrize("name", feeds.COLUMNS)
def test_labels_are_those_of_the_rows(name: str) -> None:
    for batch in batches(build(name), 3):
        assert batch.labels.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels.numpy(), LABELS[batch.samples])


def test_classes_come_p_by_k_and_every_sample_once_an_epoch_at_least() -> None:
    found = batches(build("classes"), 1)
    for batch in found:
        assert batch.tuples is None
        assert sorted(torch.bincount(batch.labels, minlength=3).tolist()) == [0, 2, 2]
    seen = {name for batch in found for name in IDS[batch.samples]}
    assert seen == set(CLASSES["id"])


@pytest.mark.parametrize("rotations", [4, 8])
def test_each_class_turned_is_a_class_of_its_own(rotations: int) -> None:
    seen = set()
    for batch in batches(build("classes", rotations=rotations, classes_per_batch=5), 1):
        assert batch.quarters is not None
        turns = batch.quarters.tolist()
        expected = [rotations * LABELS[row] + turn for row, turn in zip(batch.samples, turns, strict=True)]
        assert batch.labels.tolist() == expected
        counts = torch.bincount(batch.labels)
        assert counts[counts > 0].tolist() == [2] * 5
        seen |= set(zip(IDS[batch.samples], turns, strict=True))
    assert seen == {(name, turn) for name in CLASSES["id"] for turn in range(rotations)}


def test_samples_are_not_turned_unless_asked() -> None:
    assert all(batch.quarters is None for batch in batches(build("classes"), 1))


@pytest.mark.parametrize("name", ["pairs", "triplets"])
def test_generated_tuples_know_no_turned_classes(name: str) -> None:
    with pytest.raises(ValueError, match=f"the feed {name} knows nothing of: take the feed classes"):
        build(name, rotations=4)


@pytest.mark.parametrize("name", feeds.COLUMNS)
def test_seed_and_epoch_decide_the_batches(name: str) -> None:
    def rows(seed: int, epoch: int) -> list[list[int]]:
        feed = build(name, seed=seed)
        batches(feed, epoch + 1)  # what came before plays no part
        return [batch.samples.tolist() for batch in batches(feed, epoch)]

    assert rows(0, 1) == rows(0, 1)
    different = [rows(seed, epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert different[0] != different[1]
    assert different[0] != different[2]


@pytest.mark.parametrize(
    ("name", "column"), [("classes", "id"), ("pairs", "right"), ("triplets", "anchor"), ("triplets", "negative")]
)
def test_an_id_that_is_no_sample_is_refused(name: str, column: str) -> None:
    table = TABLES[name].copy()
    table.loc[1, column] = "zz"
    with pytest.raises(ValueError, match="sample 'zz' is in a table but not in the samples; run `dvc repro`"):
        build(name, table=table)


def test_an_unknown_feed_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown feed 'pears'; known: pairs, classes, triplets"):
        feeds.build("pears", PAIRS, IDS, LABELS, batch_size=2, classes_per_batch=2, samples_per_class=2, seed=0)


def test_an_empty_table_is_refused_when_it_is_asked_for_batches() -> None:
    with pytest.raises(ValueError, match="0 samples in batches of 2"):
        build("pairs", table=PAIRS.iloc[:0]).epoch(1)


def test_rows_of_keeps_order_and_repeats() -> None:
    rows = feeds.rows_of(pd.Series(["a1", "out", "a1"]), IDS)
    assert rows.tolist() == [4, 0, 4]
    assert rows.dtype == np.int64
