"""Splits that added data never changes: by the hash of an identity."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from likewise.choices import choose, one_of
from likewise.data import forgeries

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("train", "val", "test")
HASHED = ("class", "group", "sample")
"""What a split by hash may keep on one side."""

SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names that people give to splits, in any case, and ours for them."""

NAMED = 3


@dataclass(frozen=True, eq=False)
class Request:
    """How to split: what `assign` was asked for."""

    val: float
    test: float
    fold: int
    seed: int
    given: pd.Series[str] | None
    file: pd.DataFrame | None
    ignore: Collection[str]
    hold_out: Collection[str]
    tested: Collection[str]


def assign(
    samples: pd.DataFrame,
    *,
    by: str,
    val: float,
    test: float,
    fold: int = 0,
    seed: int = 0,
    given: pd.Series[str] | None = None,
    file: pd.DataFrame | None = None,
    ignore: Collection[str] = (),
    hold_out: Collection[str] = (),
    tested: Collection[str] = (),
    classless: bool = False,
) -> pd.Series[str]:
    """Return "train", "val" or "test" for every sample, on the samples' index.

    An identity x has the fixed place u(x) = sha256(f"{seed}:{x}") / 2^256 in [0, 1). Fold f turns it to
    u' = (u + f test) mod 1; x is of test if u' < test, of val if u' < test + val, else of train. So the split of a
    sample never depends on which others there are, and with test = 1/k the folds 0 to k - 1 each test a different
    part, together everything once.

    With `hold_out` the test part is exactly the samples of these groups, and the hash divides the others: x is of val
    if u < val, else of train.

    Samples in `tested` are of test whatever their hash, each with all that are kept on one side with it.

    Args:
        samples: The columns id, class, hash, and group for `by="group"` and `hold_out`; and forges, the class that a
            sample without one imitates, where there are forgeries.
        by: What is kept on one side: "class" (test classes are never seen in training; a forgery goes with the class
            that it imitates), "group" (no writer, session or camera on both sides) or "sample"; or where the split
            comes from: "column" (`given`'s test, and its val or, where it has none, a val taken from its train by
            sample) or "file" (`file`'s).
        val: The share of val, for class, group, sample and column.
        test: The share of test, for class, group and sample.
        fold: Which part is test, for class, group and sample; above 0 `test` must be 1/k.
        seed: Another seed is another split.
        given: For `by="column"`: the split of each sample, on the samples' index, by one of the names in `SPELLINGS`.
        file: For `by="file"`: the columns id and split, a row for each sample.
        ignore: Ids that `file` may name although they are no samples, such as those in quarantine.
        hold_out: Names of groups, for class, group and sample; then `fold` must be 0, and `test` plays no part.
        tested: Ids of the samples of a list of trials, for class, group and sample; a column or a file is not changed.
            With it a test part of which no pairs can be made will do.
        classless: Whether the samples have no classes, so that no pairs are made of them.

    Raises:
        ValueError: unknown `by`, shares that leave nothing, a fold or a group that does not exist, samples without
            the class, group or split that is asked for, ids that are missing, unknown or named twice in `file`, a leak,
            or a split with fewer than two classes that have two samples, of which no pairs can be made.
    """
    splitter = choose("way to split", by, SPLITTERS)
    if fold and by not in HASHED:
        raise ValueError(f"fold is {fold}: there are folds only of a split by {', '.join(HASHED)}, not by {by}")
    if hold_out and (fold or by not in HASHED):
        wrong = f"fold: {fold}" if fold else f"by: {by}"
        raise ValueError(f"ingest.split.hold_out names the test groups itself: {wrong} does not go with it")
    request = Request(
        val=val,
        test=test,
        fold=fold,
        seed=seed,
        given=given,
        file=file,
        ignore=ignore,
        hold_out=tuple(hold_out),
        tested=tested,
    )
    splits = splitter(samples, request).rename("split")
    refuse_leaks(samples, splits, by=by)
    if not classless:
        _refuse_too_small(samples, splits, by=by, needed=NAMES[:2] if tested else NAMES)
    return splits


def refuse_leaks(samples: pd.DataFrame, splits: pd.Series[str], *, by: str) -> None:
    """Check that no content is in two splits, nor, when split by class or group, any of these.

    Raises:
        ValueError: names the first three of them.
    """
    for column in ("hash", *((by,) if by in ("class", "group") else ())):
        names = forgeries.classes(samples) if column == "class" else samples[column]
        sides = splits.groupby(names).nunique()
        leaking = sides.index[sides > 1]
        if len(leaking):
            ids = samples["id"][names.isin(leaking)]
            raise ValueError(f"{len(leaking)} values of {column} are in two splits: samples {_named(ids)}")


def _by_class(samples: pd.DataFrame, request: Request) -> pd.Series[str]:
    names = forgeries.classes(samples)
    missing = samples["id"][names.isna()]
    if len(missing):
        raise ValueError(f"{_named(missing)} have no class: split by sample")
    return _divided(samples, names, request)


def _by_group(samples: pd.DataFrame, request: Request) -> pd.Series[str]:
    missing = samples["id"][samples["group"].isna()]
    if len(missing):
        raise ValueError(
            f"{len(missing)} of {len(samples)} samples have no group ({_named(missing)}): a table names it in the "
            "column of ingest.columns.group, in folders it is the one above the class; or split by class or sample"
        )
    forgeries.refuse_astray(samples)
    return _divided(samples, samples["group"], request)


def _by_sample(samples: pd.DataFrame, request: Request) -> pd.Series[str]:
    return _divided(samples, samples["id"], request)


def _divided(samples: pd.DataFrame, identities: pd.Series[str], request: Request) -> pd.Series[str]:
    splits = _held_out(samples, identities, request) if request.hold_out else _by_hash(identities, request)
    kept = identities[samples["id"].isin(request.tested)]
    return splits.mask(identities.isin(kept), "test")


def _held_out(samples: pd.DataFrame, identities: pd.Series[str], request: Request) -> pd.Series[str]:
    known = sorted(samples["group"].dropna().unique())
    for name in request.hold_out:
        one_of("group in ingest.split.hold_out:", name, known)
    end = int(_share("val", request.val) * PLACES)
    splits = identities.map(lambda name: "val" if _place(name, request.seed) < end else "train").astype("str")
    return splits.mask(samples["group"].isin(request.hold_out), "test")


def _by_hash(identities: pd.Series[str], request: Request) -> pd.Series[str]:
    val, test = _share("val", request.val), _share("test", request.test)
    if val + test >= 1:
        raise ValueError(
            f"ingest.split.val {request.val} and ingest.split.test {request.test} leave nothing for train: "
            "their sum must be below 1"
        )
    # Whole numbers only, so that every identity is in the test part of exactly one fold.
    scale = math.lcm(val.denominator, test.denominator)
    whole = PLACES * scale
    turn = int(_turn(request.fold, test) * whole)
    ends = [("test", int(test * whole)), ("val", int((test + val) * whole)), ("train", whole)]

    def side(identity: str) -> str:
        turned = (_place(identity, request.seed) * scale + turn) % whole
        return next(name for name, end in ends if turned < end)

    return identities.map({identity: side(identity) for identity in identities.unique()}).astype("str")


def _by_column(samples: pd.DataFrame, request: Request) -> pd.Series[str]:
    if request.given is None:
        raise ValueError("split by column needs the split of each sample (ingest.split.column)")
    missing = samples["id"][request.given.isna()]
    if len(missing):
        raise ValueError(
            f"the column of ingest.split.column is empty for {len(missing)} of {len(samples)} samples "
            f"({_named(missing)}): fill it, or split by class or sample (ingest.split.by)"
        )
    given = standard(request.given)
    if (given == "val").any():
        return given
    end = int(_share("val", request.val) * PLACES)
    carved = samples["id"].map(lambda name: _place(name, request.seed) < end)
    return given.mask((given == "train") & carved, "val")


def standard(splits: pd.Series[str]) -> pd.Series[str]:
    """Return the splits by our names for them: "validation" and "Dev" are "val".

    Raises:
        ValueError: a split by another name.

    Example:
        >>> import pandas as pd
        >>> standard(pd.Series(["train", "Validation"])).tolist()
        ['train', 'val']
    """
    lowered = splits.astype("str").str.lower()
    unknown = splits[~lowered.isin(list(SPELLINGS))]
    if len(unknown):
        raise ValueError(f"unknown splits {_named(unknown.unique())}: known are {', '.join(SPELLINGS)}")
    return lowered.map(SPELLINGS).astype("str")


def _by_file(samples: pd.DataFrame, request: Request) -> pd.Series[str]:
    if request.file is None or not {"id", "split"} <= set(request.file.columns):
        raise ValueError('split by file needs a table with the columns "id" and "split" (ingest.split.file)')
    listed = request.file["id"]
    _refuse_any(listed[listed.duplicated()], "are named twice in the split file")
    _refuse_any(samples["id"][~samples["id"].isin(listed)], "have no row in the split file")
    known = {*samples["id"], *request.ignore}
    _refuse_any(listed[~listed.isin(known)], "are in the split file and not among the samples")
    splits = standard(request.file["split"])
    return samples["id"].map(splits.set_axis(listed)).astype("str")


PLACES = 1 << 256


def _place(identity: str, seed: int) -> int:
    """Return the identity's place as a whole number below `PLACES`."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{identity}".encode()).digest(), "big")


def _share(name: str, share: float) -> Fraction:
    """Return the share as an exact fraction, 1/k where it is within half a percent of it (0.333 is a third)."""
    if not 0 < share < 1:
        raise ValueError(f"ingest.split.{name} is {share}: it must be above 0 and below 1")
    parts = round(1 / share)
    return Fraction(1, parts) if abs(share * parts - 1) < 0.005 else Fraction(share).limit_denominator(10**6)


def _turn(fold: int, test: Fraction) -> Fraction:
    if fold and test.numerator != 1:
        raise ValueError(
            f"ingest.split.fold is {fold}: folds need an ingest.split.test of 1/k (0.2 makes five), given {float(test)}"
        )
    if fold < 0 or fold * test >= 1:
        raise ValueError(
            f"ingest.split.fold is {fold}: ingest.split.test {float(test):.3g} makes folds 0 to {int(1 / test) - 1}"
        )
    return fold * test


def _refuse_too_small(samples: pd.DataFrame, splits: pd.Series[str], *, by: str, needed: Iterable[str]) -> None:
    counts = samples.groupby([splits, "class"]).size()
    usable = counts[counts >= 2].groupby(level=0).size()
    small = [name for name in needed if usable.get(name, 0) < 2]
    if small:
        classes, totals = counts.groupby(level=0).size(), splits.value_counts()
        listed = ", ".join(f"{name} {totals.get(name, 0)} samples of {classes.get(name, 0)} classes" for name in NAMES)
        raise ValueError(
            f"{' and '.join(small)} too small: pairs need two classes with two samples each, and this split has "
            f"{listed}; {_advice(small, by)}"
        )


def _advice(small: list[str], by: str) -> str:
    if by == "file" or (by == "column" and small != ["val"]):
        return f"change the split {by} (ingest.split.{by})"
    lowered = "lower" if "train" in small else "raise"
    keys = [f"ingest.split.{name}" for name in ("val", "test") if "train" in small or name in small]
    return f"{lowered} {' and '.join(keys)}, add data, or try another ingest.split.seed"


def _refuse_any(ids: pd.Series[str], what: str) -> None:
    if len(ids):
        raise ValueError(f"{len(ids)} ids {what}: {_named(ids)}")


def _named(values: Iterable[str]) -> str:
    listed = [str(value) for value in values]
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "")


SPLITTERS: dict[str, Callable[[pd.DataFrame, Request], pd.Series[str]]] = {
    "class": _by_class,
    "group": _by_group,
    "sample": _by_sample,
    "column": _by_column,
    "file": _by_file,
}
