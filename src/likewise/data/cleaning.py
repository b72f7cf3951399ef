"""What is taken out after reading: exact duplicates, label conflicts; and classes too small to use."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from likewise.data.forgeries import claim, imitated
from likewise.data.raw import Raw

NAMED = 5
DUPLICATE, CONFLICT, SMALL = "duplicate of ", "label conflict with ", "class too small: "
"""How the reasons begin."""


def duplicates(raws: Sequence[Raw], digests: NDArray[np.uint8], usable: NDArray[np.bool_]) -> dict[int, str]:
    """Return, for each sample to take out by its place in `raws`, the reason.

    Samples of one digest and one class are exact duplicates: the first stays. Samples of one digest and several
    classes, or forged and not, contradict each other: all go.

    Args:
        raws: All samples that were found (n).
        digests: SHA-256 of the content of each (n, 32).
        usable: Which samples are not out already (n,).
    """
    reasons: dict[int, str] = {}
    for same in _alike(digests, np.flatnonzero(usable)):
        if len({claim(raws[index]) for index in same}) > 1:
            reasons.update({index: _conflict(raws, index, same) for index in same})
        else:
            reasons.update(dict.fromkeys(same[1:], f"{DUPLICATE}{raws[same[0]].id}"))
    return reasons


def _alike(digests: NDArray[np.uint8], places: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the places, in their order, of each digest that occurs more than once."""
    # Few share their first eight bytes: only these are looked at one by one.
    starts = np.ascontiguousarray(digests[places, :8]).view(np.uint64)[:, 0]
    order = np.argsort(starts, kind="stable")
    equal = np.flatnonzero(np.diff(starts[order]) == 0)
    by_digest: defaultdict[bytes, list[int]] = defaultdict(list)
    for index in places[order[np.union1d(equal, equal + 1)]].tolist():
        by_digest[digests[index].tobytes()].append(index)
    yield from (same for same in by_digest.values() if len(same) > 1)


def _conflict(raws: Sequence[Raw], index: int, same: list[int]) -> str:
    other = next(raws[peer] for peer in same if claim(raws[peer]) != claim(raws[index]))
    return f"{CONFLICT}{other.id} ({claim(other)})"


def small_classes(
    raws: Sequence[Raw], reasons: Sequence[str | None], *, least: int = 2, refuse: bool = True
) -> dict[int, str]:
    """Return, for each usable sample of a class with fewer than `least` of them by its place in `raws`, the reason.

    So are the forgeries of such a class; they count for none.

    Args:
        raws: All samples that were found.
        reasons: For each why it is taken out, or None for a usable sample.
        least: How many usable samples a class needs.
        refuse: Refuse such classes instead.

    Raises:
        ValueError: no usable sample is left, or there are such classes; names up to five and what was rejected.
    """
    usable = Counter(
        raw.label for raw, reason in zip(raws, reasons, strict=True) if reason is None and raw.forges is None
    )
    found = Counter({raw.forges: 0 for raw in raws if raw.forges is not None})
    found.update(raw.label for raw in raws if raw.label is not None)
    small = sorted(label for label in found if usable[label] < least)
    if small and refuse and usable:
        raise ValueError(_small(small, usable, found, least) + _aside(raws, reasons))
    if not set(usable) - set(small):
        raise ValueError(f"none of the {len(raws)} samples found can be used: {_why(raws, reasons, small, least)}")
    if not small:
        return {}
    few = {label: f"{SMALL}{usable[label]} usable, {least} needed" for label in small}
    return {
        index: few[label]
        for index, (label, reason) in enumerate(zip(map(imitated, raws), reasons, strict=True))
        if reason is None and label in few
    }


def _small(small: Sequence[str], usable: Counter[str | None], found: Counter[str], least: int) -> str:
    listed = ", ".join(f"{label} ({usable[label]} of {found[label]})" for label in small[:NAMED])
    more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
    return (
        f"{len(small)} of {len(found)} classes have fewer than {least} usable samples: {listed}{more}; add samples, "
        "take these classes out, or have them left out (ingest.checks.small_classes: warn)"
    )


def _why(raws: Sequence[Raw], reasons: Sequence[str | None], small: Sequence[str], least: int) -> str:
    if all(reasons):
        return _first_reasons(raws, reasons)
    return f"all {len(small)} classes have fewer than {least} usable samples (ingest.min_class)"


def _aside(raws: Sequence[Raw], reasons: Sequence[str | None]) -> str:
    rejected = sum(reason is not None for reason in reasons)
    return f" ({rejected} rejected: {_first_reasons(raws, reasons)})" if rejected else ""


def _first_reasons(raws: Sequence[Raw], reasons: Sequence[str | None]) -> str:
    rejected = [f"{raw.id}: {reason}" for raw, reason in zip(raws, reasons, strict=True) if reason is not None]
    return "; ".join(rejected[:3]) + ("; ..." if len(rejected) > 3 else "")
