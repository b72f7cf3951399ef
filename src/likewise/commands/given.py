"""The samples that a command is given: files, and folders with files in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.data.folders import NO_CLASS, name_samples, open_tree

if TYPE_CHECKING:
    from likewise.delivery.gallery import Gallery
    from likewise.delivery.model import Model


@dataclass(frozen=True)
class Given:
    """A file.

    Attributes:
        path: where it is.
        name: for a file found in a folder, the folders between that and the file; else none.
        refused: why it is not to be read, or none.
    """

    path: Path
    name: str | None
    refused: str | None


def found(paths: Iterable[Path]) -> list[Given]:
    """Return the files and those below the folders, hidden files and what systems leave apart.

    Raises:
        ValueError: when a path is not there, a folder holds no file, or all that it holds is an archive.
    """
    return [each for path in paths for each in _below(path)]


def readable(given: Iterable[Given]) -> list[Path]:
    """Return where the files are.

    Raises:
        ValueError: when one is not to be read, such as a link that leads out of its folder.
    """
    listed = list(given)
    for each in listed:
        if each.refused is not None:
            raise ValueError(f"{each.path}: {each.refused}")
    return [each.path for each in listed]


def gallery(path: Path, model: Model) -> Gallery:
    """Return a gallery: one that was saved, or of a folder with a folder a name.

    Raises:
        ValueError: when it is neither, another model made it, or a file lies in no folder with a name.
    """
    from likewise.delivery.gallery import Gallery

    if not path.is_dir():
        stored = Gallery.load(path)
        stored.check(model.distance.name, model.weights)
        return stored
    given = found([path])
    files = readable(given)
    nameless = next((each.path for each in given if each.name is None), None)
    if nameless is not None:
        raise ValueError(f"{nameless}: lies in no folder with a name; a gallery has a folder a name, with its samples")
    return model.gallery_of((str(each.name), file) for each, file in zip(given, files, strict=True))


def _below(path: Path) -> Iterator[Given]:
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        yield Given(path, None, None)
        return
    tree = open_tree(path)
    if tree.packed:
        raise ValueError(f"{path}: holds nothing but an archive; unpack it first")
    raws = name_samples(tree.members, strip_top=False)
    if not raws:
        raise ValueError(f"{path}: there is no file in it")
    for raw in raws:
        yield Given(path / raw.path, raw.label, None if raw.refused == NO_CLASS else raw.refused)
