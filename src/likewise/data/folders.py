"""Samples in a folder, or in a zip or tar archive of one: a folder a class."""

import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal

from likewise.data.archives import ARCHIVE_SUFFIXES, archive_reader, list_archive
from likewise.data.raw import MAX_BYTES, Content, Member, Raw, Reader, Source, Unreadable

JUNK = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
OUTSIDE = "a link that leads outside the folder"
NO_CLASS = "no class folder"


def open_folder(path: Path, *, follow_links: bool = False, skip: Collection[str] = ()) -> Source:
    """Return the samples of a folder, or of a .zip, .tar or compressed .tar archive, read without unpacking.

    A sample's class is the folder that holds it, as the path below the root ("Balinese/character01"); its group is
    the folder above its class ("Balinese"). Ignored, and not counted: everything hidden (a name that begins with a
    dot, so `.gitignore` and `.DS_Store` too), `Thumbs.db`, `desktop.ini`, `__MACOSX`, and at the root `README*` and
    `*.dvc`. Any other file at the root has no class and is refused. Ids are paths in Unicode's NFC form.

    Where all the classes of an archive lie in one top folder, that folder is no part of the ids; so is an archive of
    a folder the same as the folder. A folder with nothing in it but one archive, and files to skip, is read as that.

    Links to files inside the root are followed, others refused; so are links in archives, and links to folders.

    Args:
        path: The folder or the archive.
        follow_links: Follow links to files outside the folder too.
        skip: Files that are no samples, such as a table of splits, by their paths in the source.

    Raises:
        ValueError: `path` does not exist, or is neither a folder nor an archive that can be read.
    """
    tree = open_tree(path, follow_links=follow_links, skip=skip)
    return Source(_without(name_samples(tree.members, strip_top=tree.packed), skip), tree.reader)


@dataclass(frozen=True)
class Tree:
    """The files below a folder, or in an archive of one.

    Attributes:
        members: The files, those too that are not read.
        reader: Reads the content of samples whose path and place are a member's.
        packed: Whether it is an archive.
    """

    members: Sequence[Member]
    reader: Reader
    packed: bool


def open_tree(path: Path, *, follow_links: bool = False, skip: Collection[str] = ()) -> Tree:
    """Return the files of a folder, or of a zip or tar archive, or of the one archive that is all a folder holds.

    Files to `skip` do not count where an archive is to be all that there is.

    Raises:
        ValueError: `path` does not exist, or is neither a folder nor an archive that can be read.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: put the data there, or give the path of the data")
    root = path.resolve()
    if root.is_dir():
        members = list(_list_folder(root, follow_links=follow_links))
        only = _only_archive([member for member in members if member.name not in skip])
        if only is None:
            return Tree(members, FolderReader(root), packed=False)
        root /= only
    return Tree(list(list_archive(root)), archive_reader(root), packed=True)


def _without(raws: tuple[Raw, ...], skip: Collection[str]) -> tuple[Raw, ...]:
    return tuple(raw for raw in raws if raw.path not in skip) if skip else raws


def _only_archive(members: list[Member]) -> str | None:
    """Return the name of the one archive that is all there is, if so."""
    visible = [member for member in members if not _ignored(_parts(member.name))]
    if len(visible) != 1 or visible[0].refused is not None or "/" in visible[0].name:
        return None
    return visible[0].name if visible[0].name.lower().endswith(ARCHIVE_SUFFIXES) else None


@dataclass(frozen=True)
class FolderReader:
    """Reads plain files below a root."""

    root: Path
    reach: Literal["anywhere"] = "anywhere"

    def reading(self) -> AbstractContextManager[Callable[[Raw], Content]]:
        """Return a context that reads any sample."""
        return nullcontext(self._read)

    def _read(self, raw: Raw) -> bytes:
        # The system's own calls: a file object takes a third longer, which for small images is much of the time.
        try:
            file = os.open(f"{self.root}/{raw.path}", os.O_RDONLY)
            try:
                size = os.fstat(file).st_size
                if size > MAX_BYTES:
                    raise Unreadable(f"{size} bytes, more than {MAX_BYTES}")
                content = os.read(file, size)
                while len(content) < size and (more := os.read(file, size - len(content))):
                    content += more
                return content
            finally:
                os.close(file)
        except FileNotFoundError:
            raise Unreadable("vanished before it was read") from None
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error


def _list_folder(root: Path, *, follow_links: bool) -> Iterator[Member]:
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(root / below) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Member(below or ".", f"folder cannot be read: {error.strerror}")
            continue
        for entry in found:
            # What is above has been looked at.
            if _ignored((below, entry.name) if below else (entry.name,)):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            else:
                yield Member(name, _refusal(entry, root, follow_links=follow_links))


def _refusal(entry: os.DirEntry[str], root: Path, *, follow_links: bool) -> str | None:
    """Say why a directory's entry is not read, or None for a file that is."""
    if not entry.is_symlink():
        return None if entry.is_file(follow_symlinks=False) else "not a regular file"
    return link_refusal(entry.path, root, follow_links=follow_links)


def refuse_link(file: Path, root: Path) -> None:
    """Check that a file of the root is in it, and no link that is not followed.

    Raises:
        ValueError: it leads outside, or is a broken link, or one to a folder.
    """
    root = root.resolve()
    refused = link_refusal(str(file), root, follow_links=False) if file.is_symlink() else None
    if refused is None and not Path(os.path.realpath(file)).is_relative_to(root):
        refused = OUTSIDE
    if refused:
        raise ValueError(f"{file} is {refused}")


def link_refusal(link: str, root: Path, *, follow_links: bool) -> str | None:
    """Say why a link below the root is not followed, or None for one that is."""
    target = Path(os.path.realpath(link))
    if not target.exists():
        return "a broken link"
    if not (follow_links or target.is_relative_to(root)):
        return OUTSIDE
    if target.is_dir():
        return "a link to a folder"
    return None if stat.S_ISREG(target.stat().st_mode) else "not a regular file"


def name_samples(members: Sequence[Member], *, strip_top: bool) -> tuple[Raw, ...]:
    """Return the samples that the members of a tree are, sorted by id, each id once.

    Of several members of one name (an updated tar) the last readable one stays and the others are refused.
    """
    top = _common_top(members) if strip_top else None
    raws = []
    for member in members:
        parts = _parts(member.name)
        below = parts[1:] if parts[:1] == (top,) and len(parts) > 1 else parts
        if parts and not _ignored(parts) and (below is parts or not _ignored(below)):
            name = "/".join(below)
            # The same text, of which one is enough.
            raws.append(_sample(member, member.name if name == member.name else name))
    return unique(raws)


def _common_top(members: Sequence[Member]) -> str | None:
    """Return the one folder that holds every class folder, if there is one."""
    depths: dict[str, int] = {}
    for member in members:
        parts = _parts(member.name)
        if len(parts) > 1 and not _ignored(parts) and not _outside(member.name):
            depths[parts[0]] = max(depths.get(parts[0], 0), len(parts))
    return next(iter(depths)) if len(depths) == 1 and max(depths.values()) > 2 else None


def _sample(member: Member, name: str) -> Raw:
    bad_name = name_refusal(member.name)
    if bad_name is not None:
        legible = readable(member.name)
        return Raw(id=legible, label=None, path=legible, refused=bad_name)
    id_ = name if name.isascii() else unicodedata.normalize("NFC", name)
    label = sys.intern(id_.rpartition("/")[0])
    return Raw(
        id=id_,
        label=label or None,
        path=member.name,
        group=sys.intern(label.rpartition("/")[0]) or None,
        refused=member.refused or (None if label else NO_CLASS),
        place=member.extent,
    )


def name_refusal(name: str) -> str | None:
    """Say why a file is not read because of its name, or None."""
    if _outside(name):
        return "its name leads outside the archive"
    return None if name.isascii() or readable(name) == name else "its name is not UTF-8"


def unique(raws: list[Raw]) -> tuple[Raw, ...]:
    """Return the samples sorted by id; of equal ids the last readable one stays, the others are refused as "id (2)"."""
    taken = {raw.id for raw in raws}
    if len(taken) == len(raws):
        return tuple(sorted(raws, key=attrgetter("id")))
    ordered = sorted(raws, key=lambda raw: (raw.id, raw.refused is None))
    result = []
    for id_, same in groupby(ordered, key=attrgetter("id")):
        *others, last = same
        free = (name for number in count(2) if (name := f"{id_} ({number})") not in taken)
        reason = "replaced by a later file with its name"
        result += [replace(raw, id=next(free), refused=raw.refused or reason) for raw in others]
        result.append(last)
    return tuple(sorted(result, key=attrgetter("id")))


def _parts(name: str) -> tuple[str, ...]:
    return tuple([part for part in name.split("/") if part and part != "."])


def _ignored(parts: tuple[str, ...]) -> bool:
    if not JUNK.isdisjoint(parts):
        return True
    for part in parts:
        if part[0] == "." and part != "..":
            return True
    return len(parts) == 1 and (parts[0].startswith("README") or parts[0].endswith(".dvc"))


def passed_over(name: str) -> bool:
    """Say whether a file is none of the data by its name: hidden, or junk that systems leave, or a README on top."""
    return _ignored(_parts(name))


def _outside(name: str) -> bool:
    if name.startswith("/") or (name[1:2] == ":" and re.match(r"[A-Za-z]:(/|$)", name)):
        return True
    return ".." in name and ".." in name.split("/")


def readable(name: str) -> str:
    r"""Return the name with its undecodable bytes written as \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
