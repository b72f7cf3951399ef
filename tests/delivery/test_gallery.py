from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from likewise import distances
from likewise.delivery import gallery
from likewise.delivery.gallery import Gallery, GalleryError

DRAW = np.random.default_rng(5)
POINTS = DRAW.normal(size=(40, 6)).astype(np.float32)


def made(points: np.ndarray[Any, Any] = POINTS, distance: str = "euclidean", weights: str = "w") -> Gallery:
    ids = tuple(f"{n}.png" for n in range(len(points)))
    return Gallery(points, ids, tuple(f"name {n % 7}" for n in range(len(points))), distance, weights)


@pytest.mark.parametrize("distance", list(distances.DISTANCES))
@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_hits_and_best_are_those_of_all_distances(distance: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "BLOCK", block)
    everybody, queries = made(distance=distance), DRAW.normal(size=(9, 6)).astype(np.float32)
    import torch

    far = distances.build(distance).pairwise(torch.from_numpy(queries), torch.from_numpy(POINTS)).numpy()
    found = everybody.hits(queries, 5)
    rows, near = everybody.best(queries)
    for row, hits in enumerate(found):
        order = sorted(range(len(POINTS)), key=lambda each: far[row, each])
        assert [hit.id for hit in hits] == [everybody.ids[each] for each in order[:5]]
        assert [hit.name for hit in hits] == [everybody.names[each] for each in order[:5]]
        np.testing.assert_allclose([hit.distance for hit in hits], far[row, order[:5]], rtol=1e-6)
        assert (rows[row], near[row]) == (order[0], pytest.approx(far[row, order[0]]))


def test_of_equally_near_samples_the_first_enrolled_comes_first() -> None:
    same = made(np.ones((30, 3), dtype=np.float32))
    (hits,) = same.hits(np.zeros((1, 3), dtype=np.float32), 4)
    assert [hit.id for hit in hits] == ["0.png", "1.png", "2.png", "3.png"]
    assert same.best(np.zeros((1, 3), dtype=np.float32))[0] == [0]


def test_no_more_hits_than_samples_and_none_of_no_query() -> None:
    few = made(POINTS[:3])
    assert [len(hits) for hits in few.hits(POINTS[:2], 10)] == [3, 3]
    assert few.hits(POINTS[:0], 2) == []
    assert len(few.best(POINTS[:0])[0]) == 0
    assert made(POINTS[:0]).hits(POINTS[:1], 2) == [[]]


def test_a_gallery_comes_back_as_it_was_and_the_same_gives_the_same_bytes(tmp_path: Path) -> None:
    first = made()
    path = first.save(tmp_path / "new" / "people.safetensors")
    back = Gallery.load(path)
    np.testing.assert_array_equal(back.embeddings, first.embeddings)
    assert (back.ids, back.names, back.distance, back.weights) == (first.ids, first.names, "euclidean", "w")
    assert first.save(tmp_path / "again").read_bytes() == path.read_bytes()
    # A length, a JSON header and numbers: nothing of pickle.
    assert path.read_bytes()[8:9] == b"{"


def test_people_come_and_go() -> None:
    first, more = made(POINTS[:10]), made(POINTS[10:12])
    both = first.with_more(more)
    assert len(both) == 12
    np.testing.assert_array_equal(both.embeddings, POINTS[:12])
    left = both.without("name 1")
    assert left.people == ("name 0", "name 2", "name 3", "name 4", "name 5", "name 6")
    assert len(left) == sum(name != "name 1" for name in both.names)
    with pytest.raises(GalleryError, match="nobody called 'name 9' is enrolled"):
        both.without("name 9")
    for other in (made(weights="x"), made(distance="cosine")):
        with pytest.raises(GalleryError, match="another model made this gallery"):
            first.with_more(other)


@pytest.mark.parametrize(
    ("points", "ids", "words"),
    [
        (POINTS, ("one",), r"an id and a name for each embedding; embeddings \(40, 6\), 1 ids"),
        (POINTS[0], ("one",), "an id and a name for each embedding"),
        (POINTS[:1].astype(np.float64), ("one",), "finite float32 numbers, given float64"),
        (np.full((1, 2), np.nan, dtype=np.float32), ("one",), "finite float32 numbers"),
    ],
)
def test_what_is_no_gallery_is_refused(points: np.ndarray[Any, Any], ids: tuple[str, ...], words: str) -> None:
    with pytest.raises(GalleryError, match=words):
        Gallery(points, ids, ids, "euclidean", "w")


def about(**changes: Any) -> dict[str, Any]:
    return {"format": 1, "distance": "euclidean", "weights_sha256": "w", "ids": ["a"], "names": ["a"]} | changes


def stored(content: Any, name: str = "embeddings") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        save_file({name: POINTS[:1]}, path, metadata={"gallery": json.dumps(content)})

    return write


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b"text"), "not a gallery that `likewise enrol` wrote"),
        (lambda path: path.write_bytes(b""), "not a gallery that `likewise enrol` wrote"),
        (lambda path: save_file({"embeddings": POINTS}, path), "not a gallery"),
        (stored(about(format=2)), "format 2; this version reads format 1"),
        (stored(about(ids=["a", "b"])), "an id and a name for each embedding"),
        (stored(about(names=[1])), "not a gallery .*must be lists of texts"),
        (stored(about(names="a")), "not a gallery .*must be lists of texts"),
        (stored([1]), "not a gallery"),
        (stored(about(), "other"), "not a gallery"),
        (lambda path: None, "there is no such gallery; `likewise enrol` makes one"),
        (lambda path: path.mkdir(), "there is no such gallery"),
    ],
)
def test_a_file_that_is_no_gallery_is_named_in_a_line(
    tmp_path: Path, write: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "people.safetensors"
    write(path)
    with pytest.raises(GalleryError, match=words) as caught:
        Gallery.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
