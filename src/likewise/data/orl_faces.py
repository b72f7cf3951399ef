"""The ORL faces (AT&T Laboratories Cambridge): a folder a person, in a folder or an archive."""

from __future__ import annotations

import re
from pathlib import Path

from likewise.data.folders import open_tree
from likewise.data.raw import Source
from likewise.data.spelled import spelled
from likewise.data.tables import Columns

SPELLING = r"(?P<person>s\d+)/(?P<take>\d+)\.(?:pgm|png|jpg|jpeg|bmp|tif|tiff)"


def open_orl_faces(path: Path) -> Source:
    """Return the photographs `s17/3.pgm`: the class is the person, the number of the photograph is carried as `take`.

    Args:
        path: The folder that holds `s1` to `s40`, or an archive of it.

    Raises:
        ValueError: no such folder, or no such photograph in it.
    """
    columns = Columns(label="person")
    return spelled(open_tree(path), SPELLING, _described, path=path, example="s17/3.pgm", columns=columns)


def _described(match: re.Match[str]) -> dict[str, object]:
    return {"person": match["person"], "take": int(match["take"])}
