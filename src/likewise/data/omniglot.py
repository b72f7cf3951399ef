"""Omniglot: drawings of characters, by alphabet and character, in one or several folders or archives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from likewise.data.folders import Tree, open_tree, refuse_link
from likewise.data.raw import Content, Raw, Reader, Source
from likewise.data.spelled import spelled
from likewise.data.tables import Columns

SPELLING = r"(?P<alphabet>[^/]+)/(?P<character>character\d+)/\d+_(?P<drawer>\d+)\.png"

PARTS = {
    "images_background": "train",
    "images_evaluation": "test",
    "images_background_small1": "train",
    "images_background_small2": "train",
}
"""The parts in which it is published, and the split that each is by its authors' protocol."""

BACKGROUND = "images_background"


def open_omniglot(path: Path) -> Source:
    """Return the drawings `Korean/character07/0546_12.png` (Lake, Salakhutdinov, Tenenbaum, 2015).

    The class is the character ("Korean/character07"), the group its alphabet. Carried along are the drawer (1 to 20;
    another person for another part), and, where parts are known by their names, as `split` the authors' protocol: train
    for background, test for evaluation.

    Args:
        path: An archive of a part, a folder with parts, packed or not, or the folder of the alphabets. The small parts
            are in the background and not read a second time where that is there.

    Raises:
        ValueError: no such folder, or no such drawing in it.
    """
    parts = _parts(path) if path.is_dir() else {}
    tree = _joined(parts) if parts else open_tree(path)
    columns = Columns(label="character", group="alphabet")
    described = partial(_described, path=path)
    return spelled(tree, SPELLING, described, path=path, example="Korean/character07/0546_12.png", columns=columns)


def _described(match: re.Match[str], *, path: Path) -> dict[str, object]:
    stems = (part.removesuffix(".zip") for part in (*match.string.split("/"), path.name))
    return {
        "character": f"{match['alphabet']}/{match['character']}",
        "alphabet": match["alphabet"],
        "drawer": int(match["drawer"]),
        "split": next((PARTS[stem] for stem in stems if stem in PARTS), None),
    }


def _parts(folder: Path) -> dict[str, Path]:
    """Return the parts in a folder by their file names, each once though it be there packed and unpacked."""
    found = {entry.name.removesuffix(".zip"): entry for entry in sorted(folder.iterdir())}
    parts = {stem: entry for stem, entry in found.items() if stem in PARTS}
    for entry in parts.values():
        refuse_link(entry, folder)
    whole = BACKGROUND in parts
    return {entry.name: entry for stem, entry in parts.items() if not (whole and stem.startswith(f"{BACKGROUND}_"))}


def _joined(parts: Mapping[str, Path]) -> Tree:
    trees = {name: open_tree(path) for name, path in parts.items()}
    members = [replace(each, name=f"{name}/{each.name}") for name, tree in trees.items() for each in tree.members]
    return Tree(members, JoinedReader(tuple((name, tree.reader) for name, tree in trees.items())), packed=False)


@dataclass(frozen=True)
class JoinedReader:
    """Reads the files of several trees; the first part of a path says of which."""

    readers: tuple[tuple[str, Reader], ...]

    @property
    def reach(self) -> Literal["anywhere", "forward"]:
        """Anywhere, unless one of them is only read forward."""
        return "anywhere" if all(reader.reach == "anywhere" for _, reader in self.readers) else "forward"

    @contextmanager
    def reading(self) -> Iterator[Callable[[Raw], Content]]:
        """Open all of them, and yield a function that reads any sample."""
        with ExitStack() as stack:
            reads = {name: stack.enter_context(reader.reading()) for name, reader in self.readers}

            def read(raw: Raw) -> Content:
                name, _, path = raw.path.partition("/")
                return reads[name](replace(raw, path=path))

            yield read
