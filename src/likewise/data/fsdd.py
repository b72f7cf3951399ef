"""The Free Spoken Digit Dataset: a folder of recordings whose names say digit, speaker and take."""

from __future__ import annotations

import re
from pathlib import Path

from likewise.data.manifest import from_table
from likewise.data.raw import Source
from likewise.data.tables import DEFAULT_COLUMNS, Columns

NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)\.wav")

TEST_TAKES = 5
"""Takes 0 to 4 of each digit and speaker are the official test set."""


def open_fsdd(path: Path, *, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the recordings `digit_speaker_take.wav` (Jackson et al., Free Spoken Digit Dataset).

    The class is the column that `columns.label` names: digit or speaker. The others are carried along, and so is
    the official split, as a column `split` with train and test.

    Args:
        path: The folder `recordings`, or the one that holds it.
        columns: The names of the columns; only the label and the group matter.

    Raises:
        ValueError: no such folder, no such recording in it, or another label.
    """
    import pyarrow as pa

    folder = path / "recordings" if (path / "recordings").is_dir() else path
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    found = [match for match in map(NAME.fullmatch, names) if match]
    if not found:
        raise ValueError(f"{path} holds no recordings of the form 7_jackson_32.wav: give the folder of the data set")
    takes = [int(match["take"]) for match in found]
    table = pa.table(
        {
            columns.path: [match[0] for match in found],
            "digit": [match["digit"] for match in found],
            "speaker": [match["speaker"] for match in found],
            "take": takes,
            "split": ["test" if take < TEST_TAKES else "train" for take in takes],
        }
    )
    return from_table(table, folder, columns=columns, where="the file names")
