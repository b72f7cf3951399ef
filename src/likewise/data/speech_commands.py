"""Google's Speech Commands: a folder a word, names that say the speaker, lists that say the split."""

from __future__ import annotations

import re
from pathlib import Path

from likewise.data.folders import Tree, open_tree
from likewise.data.raw import Raw, Source, Unreadable
from likewise.data.spelled import spelled
from likewise.data.tables import DEFAULT_COLUMNS, Columns

SPELLING = r"(?P<word>[^_/][^/]*)/(?P<speaker>[0-9a-f]+)_nohash_(?P<take>\d+)\.wav"

LISTS = {"validation_list.txt": "val", "testing_list.txt": "test"}
"""The official lists, and the split of the recordings that they name; all others are of train."""


def open_speech_commands(path: Path, *, columns: Columns = DEFAULT_COLUMNS) -> Source:
    """Return the recordings `word/speaker_nohash_take.wav` (Warden: Speech Commands, 2018).

    The class is the word and the group the speaker, unless the columns say otherwise: `speaker` as label and `word` as
    group, for instance. The take is carried along, and the official split as a column `split` with train, val and test
    where both lists are there. `_background_noise_` holds no words and is left out.

    Args:
        path: The folder that holds the words and the lists, or an archive of it, packed or not.
        columns: The names of the columns; only the label and the group matter.

    Raises:
        ValueError: no such folder, no such recording in it, a list that cannot be read, or another label.
    """
    tree = open_tree(path)
    splits = _splits(tree, path)

    def described(match: re.Match[str]) -> dict[str, object]:
        said = {name: match[name] for name in ("word", "speaker")} | {"take": int(match["take"])}
        return said if splits is None else said | {"split": splits.get(match["id"], "train")}

    example = "right/bb05582b_nohash_3.wav"
    return spelled(tree, SPELLING, described, path=path, example=example, columns=_usual(columns))


def _usual(columns: Columns) -> Columns:
    """Return the columns with the names that the data set has, where none were chosen."""
    label = "word" if columns.label == DEFAULT_COLUMNS.label else columns.label
    group = "speaker" if (label, columns.group) == ("word", DEFAULT_COLUMNS.group) else columns.group
    return Columns(label=label, group=group)


def _splits(tree: Tree, path: Path) -> dict[str, str] | None:
    """Return the split of each recording that the lists name, or None where they are not both there."""
    lists = [member for member in tree.members if member.name.rpartition("/")[2] in LISTS]
    if len({member.name.rpartition("/")[2] for member in lists}) < len(LISTS):
        return None
    splits: dict[str, str] = {}
    with tree.reader.reading() as read:
        for member in lists:
            name = member.name.rpartition("/")[2]
            if member.refused is not None:
                raise ValueError(f"{path}: {name}: {member.refused}")
            try:
                content = read(Raw(name, label=None, path=member.name, place=member.extent))
                lines = bytes(content).decode().split()
            except (Unreadable, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: {name}: {error}") from None
            splits |= dict.fromkeys(lines, LISTS[name])
    return splits
