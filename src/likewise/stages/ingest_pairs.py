"""The pairs that a source gives: what they join stays on one side, and each can be used or has a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from likewise import artifacts
from likewise.data.cleaning import DUPLICATE
from likewise.data.ingestion import Ingested
from likewise.data.pair_tables import Settled, first_said, joined, settled, stated_groups
from likewise.data.raw import PairRows
from likewise.data.splits import SPELLINGS, assign
from likewise.stages.ingest_params import Split

BY_GENUINE = ("class", "column", "file")
"""Ways to split in which only genuine pairs say what is one thing; impostors that lie across are left out."""

ONE_PART = {
    "sample": "by: sample keeps together what pairs join, and they join {share} of the samples: split by class (only "
    "genuine pairs join), group or column",
    "column": "what is drawn for val stays together with what pairs join, and they join {share} of the samples: say "
    "val in the column, too",
}
"""What to do where pairs join most of the samples, and so leave one part to be divided."""


@dataclass(frozen=True, eq=False)
class Paired:
    """The samples of pairs, with their group and split, and what became of the pairs."""

    samples: pd.DataFrame
    pairs: Settled


def pair_up(given: PairRows, found: Ingested, division: Split, file: pd.DataFrame | None) -> Paired:
    """Divide the samples so that what pairs join stays together, and settle which pairs can be used.

    Raises:
        ValueError: a division that cannot be, a sample of two groups, or a split without pairs of both kinds.
    """
    left_out = reasons(found)
    copies = {name: why.removeprefix(DUPLICATE) for name, why in left_out.items() if why.startswith(DUPLICATE)}
    rows = given.resolved(copies)
    column = texts(rows, division.column) if division.by == "column" else None
    samples = with_groups(found.samples, rows, division.by)
    samples = samples.assign(split=divide(samples, rows, division, file, column, left_out))
    pairs = settled(rows, samples, {name: why for name, why in left_out.items() if name not in copies}, column)
    refuse_one_sided(pairs.kept, samples, rows, division.by)
    return Paired(samples, pairs)


def reasons(found: Ingested) -> dict[str, str]:
    """Return why each file was left out, by its id."""
    return dict(zip(found.quarantine["id"], found.quarantine["reason"], strict=True))


def texts(rows: PairRows, column: str) -> list[str | None]:
    """Return a carried column as text, splits by our names for them; None where it is empty."""
    cells = rows.carried[column].to_pylist()
    return [None if cell in (None, "") else SPELLINGS.get(str(cell).lower(), str(cell)) for cell in cells]


def with_groups(samples: pd.DataFrame, rows: PairRows, by: str) -> pd.DataFrame:
    """Return the samples with the groups that the table says, and by default what pairs join as one.

    Split by group, a sample of which no group is known has none, so that the split can refuse it.
    """
    known: Mapping[str, str] = stated_groups(rows)
    if by != "group":
        known = {**joined(rows, genuine=by in BY_GENUINE), **known}
    names = [known.get(name, None if by == "group" else name) for name in samples["id"]]
    return samples.assign(group=pd.Series(names, index=samples.index, dtype="str"))


def divide(
    samples: pd.DataFrame,
    rows: PairRows,
    division: Split,
    file: pd.DataFrame | None,
    column: list[str | None] | None,
    left_out: Mapping[str, str],
) -> pd.Series[str]:
    """Return the split of each sample; what must stay together has one place, that of its name."""
    by = division.by
    names = joined(rows, genuine=by == "class")
    whole = samples if by in ("group", "file") else samples.assign(id=[names.get(id_, id_) for id_ in samples["id"]])
    said = {} if column is None else first_said(rows, column)
    stated = [said[id_][0] if id_ in said else None for id_ in samples["id"]]
    return assign(
        whole,
        by="sample" if by == "class" else by,
        val=division.val,
        test=division.test,
        fold=division.fold,
        hold_out=division.hold_out,
        seed=division.seed,
        given=None if column is None else pd.Series(stated, index=samples.index, dtype="str"),
        file=file,
        ignore=set(left_out),
        classless=True,
    )


def refuse_one_sided(kept: pd.DataFrame, samples: pd.DataFrame, rows: PairRows, by: str) -> None:
    """Check that each split has a pair of each kind.

    Raises:
        ValueError: one has not; counts them, and says so where pairs join nearly all samples.
    """
    counts = held(kept, samples)
    short = [split for split, each in counts.items() if not 0 < each["genuine"] < each["pairs"]]
    if not short:
        return
    told = ", ".join(f"{split} {each['pairs']} ({each['genuine']} genuine)" for split, each in counts.items())
    names = joined(rows)
    largest = samples["id"].map(lambda id_: names.get(id_, id_)).value_counts().iloc[0] / len(samples)
    advice = ONE_PART.get(by, "") if largest > 0.5 else ""
    advice = advice.format(share=f"{largest:.0%}") or "change ingest.split, or add pairs"
    raise ValueError(
        f"{' and '.join(short)}: genuine and impostor pairs are needed in each split, and of those that can be used "
        f"there are {told}; {advice}"
    )


def held(kept: pd.DataFrame, samples: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the pairs of each split, and the genuine ones among them."""
    splits = kept["left"].map(samples.set_index("id")["split"])
    return {
        split: {"pairs": int((splits == split).sum()), "genuine": int(kept["same"][splits == split].sum())}
        for split in artifacts.SPLITS
    }


def write(paired: Paired | None, root: Path) -> None:
    """Write the pairs and those that cannot be used, or take away what an earlier run wrote."""
    if paired is None:
        artifacts.GIVEN_PAIRS.remove(root)
        artifacts.REJECTED_PAIRS.remove(root)
        return
    artifacts.GIVEN_PAIRS.write(paired.pairs.kept, root)
    artifacts.REJECTED_PAIRS.write(paired.pairs.rejected.astype({"row": np.int64}), root)
