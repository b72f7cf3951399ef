"""The Japanese vowels as recipes/sequences.yaml reads them: a CSV file an utterance, and a table of them.

The data come inside the wheel of aeon (BSD 3-clause), which is read and not installed:

    pip download --no-deps aeon==1.6.0
    python recipes/sequences.py aeon-1.6.0-py3-none-any.whl vowels

Nine men said /ae/; each utterance is 7 to 29 frames of 12 cepstral coefficients (Kudo, Toyama and Shimbo 1999).
"""

from __future__ import annotations

import argparse
import csv
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

MEMBER = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
SPLITS = ("train", "test")


def utterances(text: str) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    r"""Yield the speaker and the frames, a tuple of 12 numbers each, of a .ts file.

    Below `@data` an utterance is a line: a channel's values with commas between them, colons between the channels, the
    class at the end.

    Example:
        >>> list(utterances("@classLabel true a b\n@data\n1,2,3:4,5,6:b\n"))
        [('b', [('1', '4'), ('2', '5'), ('3', '6')])]
    """
    for line in text.split("@data", 1)[1].split():
        *channels, speaker = line.split(":")
        yield speaker, list(zip(*(values.split(",") for values in channels), strict=True))


def convert(wheel: Path, folder: Path) -> int:
    """Write the utterances of the wheel, and `samples.csv` with path, label and split; return how many there are."""
    rows = []
    with zipfile.ZipFile(wheel) as archive:
        for split in SPLITS:
            text = archive.read(MEMBER.format(split.upper())).decode()
            for number, (speaker, frames) in enumerate(utterances(text), start=1):
                path = Path(split, speaker, f"{number:03}.csv")
                write(folder / path, frames)
                rows.append((path.as_posix(), speaker, split))
    write(folder / "samples.csv", [("path", "label", "split"), *rows])
    return len(rows)


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    """Write a CSV file, and the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of aeon")
    parser.add_argument("folder", type=Path, help="where the files go")
    given = parser.parse_args()
    try:
        print(f"{convert(given.wheel, given.folder)} utterances in {given.folder}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"{given.wheel}: not a wheel with the Japanese vowels: {error}")


if __name__ == "__main__":
    main()
