"""What is taken out after reading: exact duplicates, label conflicts; and classes too small to use."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from likewise.data.raw import Raw

NAMED = 5


def duplicates(raws: Sequence[Raw], hashes: Sequence[str | None]) -> dict[int, str]:
    """Return, for each sample to take out by its place in `raws`, the reason.

    Samples of one hash and one class are exact duplicates: the first stays. Samples of one hash and several classes
    contradict each other: all go. None stands for a sample that is out already.
    """
    by_hash: defaultdict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(hashes):
        if content is not None:
            by_hash[content].append(index)
    reasons: dict[int, str] = {}
    for same in by_hash.values():
        if len({raws[index].label for index in same}) > 1:
            reasons.update({index: _conflict(raws, index, same) for index in same})
        else:
            reasons.update(dict.fromkeys(same[1:], f"duplicate of {raws[same[0]].id}"))
    return reasons


def _conflict(raws: Sequence[Raw], index: int, same: list[int]) -> str:
    other = next(raws[peer] for peer in same if raws[peer].label != raws[index].label)
    return f"label conflict with {other.id} (class {other.label})"


def refuse_small_classes(raws: Sequence[Raw], reasons: Sequence[str | None]) -> None:
    """Check that every class has at least two usable samples.

    Args:
        raws: All samples that were found.
        reasons: For each why it is taken out, or None for a usable sample.

    Raises:
        ValueError: no usable sample at all, or classes with fewer than two; names up to five and what was rejected.
    """
    usable = Counter(raw.label for raw, reason in zip(raws, reasons, strict=True) if reason is None)
    found = Counter(raw.label for raw in raws if raw.label is not None)
    if not usable:
        raise ValueError(f"none of the {len(raws)} samples found can be used: {_first_reasons(raws, reasons)}")
    small = sorted(label for label in found if usable[label] < 2)
    if small:
        listed = ", ".join(f"{label} ({usable[label]} of {found[label]})" for label in small[:NAMED])
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        raise ValueError(
            f"{len(small)} of {len(found)} classes have fewer than two usable samples, so no pair can be made: "
            f"{listed}{more}; add samples or take these classes out{_aside(raws, reasons)}"
        )


def _aside(raws: Sequence[Raw], reasons: Sequence[str | None]) -> str:
    rejected = sum(reason is not None for reason in reasons)
    return f" ({rejected} rejected: {_first_reasons(raws, reasons)})" if rejected else ""


def _first_reasons(raws: Sequence[Raw], reasons: Sequence[str | None]) -> str:
    rejected = [f"{raw.id}: {reason}" for raw, reason in zip(raws, reasons, strict=True) if reason is not None]
    return "; ".join(rejected[:3]) + ("; ..." if len(rejected) > 3 else "")
