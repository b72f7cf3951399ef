"""The Free Spoken Digit Dataset: recordings whose names say digit, speaker and take, in a folder or an archive."""

from __future__ import annotations

import re
from pathlib import Path

from likewise.data.folders import open_tree, refuse_link
from likewise.data.raw import Source
from likewise.data.spelled import spelled
from likewise.data.tables import DEFAULT_COLUMNS, Columns

SPELLING = r"(?P<digit>\d)_(?P<speaker>[^_/]+)_(?P<take>\d+)\.wav"

TEST_TAKES = 5
"""Takes 0 to 4 of each digit and speaker are the official test set."""


def open_fsdd(path: Path, *, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the recordings `digit_speaker_take.wav` (Jackson et al., Free Spoken Digit Dataset).

    The class is the column that `columns.label` names: digit or speaker. The others are carried along, and so is
    the official split, as a column `split` with train and test.

    Args:
        path: The folder `recordings`, or one that holds it, or an archive of either.
        columns: The names of the columns; only the label and the group matter.

    Raises:
        ValueError: no such folder, no such recording in it, or another label.
    """
    inner = path / "recordings"
    refuse_link(inner, path)
    tree = open_tree(inner if inner.is_dir() else path)
    return spelled(tree, SPELLING, _described, path=path, example="7_jackson_32.wav", columns=columns)


def _described(match: re.Match[str]) -> dict[str, object]:
    take = int(match["take"])
    split = "test" if take < TEST_TAKES else "train"
    return {"digit": match["digit"], "speaker": match["speaker"], "take": take, "split": split}
