import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data.cleaning import duplicates, small_classes
from likewise.data.raw import Raw


def raws(*labels: str | None) -> list[Raw]:
    return [Raw(f"{label}/{number}", label, "") for number, label in enumerate(labels)]


def removed(samples: Sequence[Raw], hashes: Sequence[str | None]) -> dict[int, str]:
    """Return the duplicates, with the hashes given as words."""
    digests = [hashlib.sha256((word or "").encode()).digest() for word in hashes]
    array = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)
    return duplicates(samples, array, np.array([word is not None for word in hashes], dtype=bool))


def oracle(samples: Sequence[Raw], hashes: Sequence[str | None]) -> dict[int, str]:
    """Every pair of samples, compared."""
    reasons = {}
    for i in range(len(samples)):
        twins = [j for j in range(len(samples)) if hashes[i] is not None and hashes[j] == hashes[i]]
        others = [j for j in twins if samples[j].label != samples[i].label]
        if others:
            reasons[i] = f"label conflict with {samples[others[0]].id} (class {samples[others[0]].label})"
        elif twins and twins[0] < i:
            reasons[i] = f"duplicate of {samples[twins[0]].id}"
    return reasons


def test_of_duplicates_in_a_class_the_first_stays() -> None:
    assert removed(raws("a", "a", "a", "b"), ["x", "x", "x", "y"]) == {1: "duplicate of a/0", 2: "duplicate of a/0"}


def test_a_label_conflict_takes_all_out() -> None:
    assert removed(raws("a", "a", "b"), ["x", "x", "x"]) == {
        0: "label conflict with b/2 (class b)",
        1: "label conflict with b/2 (class b)",
        2: "label conflict with a/0 (class a)",
    }


def test_a_forgery_that_is_also_genuine_is_a_conflict_and_one_that_comes_twice_a_duplicate() -> None:
    samples = [Raw("1", "a", ""), Raw("2", None, "", forges="a"), Raw("3", None, "", forges="a")]
    assert removed(samples, ["x", "x", "y"]) == {
        0: "label conflict with 2 (a forgery of class a)",
        1: "label conflict with 1 (class a)",
    }
    assert removed(samples, ["x", "y", "y"]) == {2: "duplicate of 2"}


def test_what_could_not_be_read_is_compared_with_nothing() -> None:
    assert removed(raws("a", "a"), [None, None]) == {}


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y", "z", None])), max_size=12))
def test_as_when_every_pair_is_compared(drawn: list[tuple[str | None, str | None]]) -> None:
    samples = raws(*(label for label, _ in drawn))
    hashes = [content for _, content in drawn]
    assert removed(samples, hashes) == oracle(samples, hashes)


def test_two_usable_samples_a_class_are_enough() -> None:
    samples = raws("a", "a", "b", "b", "b", None)
    assert small_classes(samples, [None, None, None, "bad", None, "no class folder"]) == {}


def test_smaller_classes_are_left_out_unless_refused() -> None:
    samples = raws("a", "a", "a", "b", "b", "c", "c", "c", "d")
    reasons = [None, None, None, None, None, None, None, "bad", "bad"]
    assert small_classes(samples, reasons, refuse=False) == {}
    assert small_classes(samples, reasons, least=3, refuse=False) == dict.fromkeys(
        [3, 4, 5, 6], "class too small: 2 usable, 3 needed"
    )
    with pytest.raises(
        ValueError, match=r"^3 of 4 classes have fewer than 3 usable samples: b \(2 of 2\), c \(2 of 3\), d"
    ):
        small_classes(samples, reasons, least=3)
    with pytest.raises(
        ValueError, match=r"^none of the 9 samples found can be used: all 4 classes have fewer than 4 usable samples"
    ):
        small_classes(samples, reasons, least=4, refuse=False)


def test_forgeries_count_for_none_and_go_with_their_class() -> None:
    samples = [*raws("a", "a", "b"), *(Raw(f"f{name}", None, "", forges=name) for name in "abc")]
    assert small_classes(samples, [None] * 6, refuse=False) == dict.fromkeys(
        [2, 4], "class too small: 1 usable, 2 needed"
    ) | {5: "class too small: 0 usable, 2 needed"}
    with pytest.raises(
        ValueError, match=r"^2 of 3 classes have fewer than 2 usable samples: b \(1 of 1\), c \(0 of 0\)"
    ):
        small_classes(samples, [None] * 6)
    with pytest.raises(ValueError, match=r"^none of the 3 samples found can be used"):
        small_classes(samples[2:5], [None] * 3, refuse=False)


def test_small_classes_are_named_with_what_was_found_and_rejected() -> None:
    samples = raws("a", "a", "b", "c", "c")
    with pytest.raises(ValueError, match="2 of 3 classes") as caught:
        small_classes(samples, [None, None, None, "empty file", None])
    assert str(caught.value) == (
        "2 of 3 classes have fewer than 2 usable samples: b (1 of 1), c (1 of 2); add samples, take these classes out, "
        "or have them left out (ingest.checks.small_classes: warn) (1 rejected: c/3: empty file)"
    )


def test_only_five_small_classes_are_listed() -> None:
    with pytest.raises(ValueError, match=r"e \(1 of 1\) and 2 more; add samples"):
        small_classes(raws(*"abcdefg"), [None] * 7)


def test_nothing_usable_says_why() -> None:
    with pytest.raises(
        ValueError, match=r"^none of the 4 samples found can be used: a/0: bad; a/1: bad; b/2: bad; \.\.\.$"
    ):
        small_classes(raws("a", "a", "b", "b"), ["bad"] * 4)
