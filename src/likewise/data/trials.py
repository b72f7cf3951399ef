"""Trial lists as benchmarks publish them: a label and two samples a line, taken as they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from likewise.config import named, nearest
from likewise.data.folders import refuse_link

SAME = {"0": False, "1": True}
KINDS = {True: "of one class (1)", False: "of two classes (0)"}


@dataclass(frozen=True, slots=True)
class Trial:
    """A line of a list: its number, the ids of two samples, and whether they are of one class."""

    line: int
    left: str
    right: str
    same: bool


@dataclass(frozen=True)
class TrialList:
    """The trials of a list in their order; every refusal names the list and the line."""

    name: str
    trials: tuple[Trial, ...]

    @property
    def ids(self) -> set[str]:
        """The samples that are named."""
        return {name for _, name in self._sides()}

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Check that every sample is among the known.

        Raises:
            ValueError: one is not; names the nearest that there is.
        """
        for trial, name in self._sides():
            if name not in known:
                close = nearest(name, known)
                hint = f"; the nearest is {close!r}" if close else ""
                raise self.refusal(trial, f"there is no sample {name!r}{hint}")

    def among(
        self, classes: Mapping[str, str | None], left_out: Mapping[str, str], twins: Mapping[str, str]
    ) -> TrialList:
        """Return the list between the samples that were kept: for an exact copy stands the one that was kept.

        Args:
            classes: the class of each sample that was kept, by id; None for a forgery.
            left_out: why each other one was left out.
            twins: for an exact copy that was left out the one that was kept.

        Raises:
            ValueError: a sample that cannot be used, a trial between copies, or one that contradicts the classes.
        """
        return replace(self, trials=tuple(self._checked(trial, classes, left_out, twins) for trial in self.trials))

    def refuse_seen(self, splits: Mapping[str, str]) -> None:
        """Check that every sample is in test.

        Raises:
            ValueError: one is in train or val, as a column or a file may say.
        """
        for trial, name in self._sides():
            if splits[name] != "test":
                raise self.refusal(trial, f"{name} is in {splits[name]}, and trials are for test: change ingest.split")

    def refusal(self, trial: Trial, what: str) -> ValueError:
        """Return the error that says what is wrong with a trial."""
        return _refusal(self.name, trial.line, what)

    def _checked(
        self,
        trial: Trial,
        classes: Mapping[str, str | None],
        left_out: Mapping[str, str],
        twins: Mapping[str, str],
    ) -> Trial:
        left, right = (twins.get(name, name) for name in (trial.left, trial.right))
        for name in (left, right):
            if name not in classes:
                raise self.refusal(trial, f"{name} cannot be used ({left_out[name]}): mend it, or take the line out")
        if left == right:
            raise self.refusal(trial, f"{trial.left} and {trial.right} are exact copies of each other")
        alike = classes[left] is not None and classes[left] == classes[right]
        if alike != trial.same:
            told = ", ".join(f"{name} ({classes[name] or 'a forgery'})" for name in (left, right))
            raise self.refusal(trial, f"it says {KINDS[trial.same]}, and the data {KINDS[alike]}: {told}")
        return Trial(trial.line, left, right, trial.same)

    def _sides(self) -> Iterator[tuple[Trial, str]]:
        for trial in self.trials:
            yield trial, trial.left
            yield trial, trial.right


def read_trials(folder: Path, name: str) -> TrialList:
    """Return the list `name` in a folder.

    A line is three words, parted by blanks or tabs: the label, 1 for one class and 0 for two, and the ids of two
    samples. Where the first line does not begin with a label but ends with one, each line's label is its last word.
    Empty lines are passed over. Ids are compared in Unicode's NFC form.

    Raises:
        ValueError: no such file, not UTF-8, a line that is no trial, that compares a sample with itself or a pair again
            (also turned round), or trials of one kind only.
    """
    words = [(number, text.split()) for number, text in enumerate(_lines(folder, name), start=1) if text.strip()]
    last = bool(words) and words[0][1][0] not in SAME and words[0][1][-1] in SAME
    trials = tuple(_trial(name, number, line, last=last) for number, line in words)
    _refuse_repeated(name, trials)
    missing = {True, False} - {trial.same for trial in trials}
    if missing:
        what = " and none ".join(KINDS[kind] for kind in sorted(missing, reverse=True))
        raise ValueError(f"ingest.trials: {name}: none of its {len(trials)} trials is {what}: both kinds are needed")
    return TrialList(name, trials)


def _lines(folder: Path, name: str) -> list[str]:
    given = Path(name)
    if not folder.is_dir():
        raise ValueError(f"ingest.trials: {name} must lie in the folder ingest.path, and {folder} is no folder")
    if given.is_absolute() or ".." in given.parts:
        raise ValueError(f"ingest.trials: {name} leads outside ingest.path: give a path inside it")
    with named("ingest.trials"):
        refuse_link(folder / given, folder)
    try:
        return (folder / given).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"ingest.trials: {name}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"ingest.trials: {name} in {folder}: {error.strerror}") from None


def _trial(file: str, line: int, words: list[str], *, last: bool) -> Trial:
    if len(words) != 3:
        raise _refusal(file, line, f"{len(words)} words: a trial is a label and two ids, parted by blanks")
    label, *ids = [words[-1], *words[:-1]] if last else words
    if label not in SAME:
        raise _refusal(file, line, f"it {'ends' if last else 'begins'} with {label!r}, and a label is 1 or 0")
    left, right = (unicodedata.normalize("NFC", name) for name in ids)
    if left == right:
        raise _refusal(file, line, f"{left} is compared with itself")
    return Trial(line, left, right, SAME[label])


def _refuse_repeated(file: str, trials: tuple[Trial, ...]) -> None:
    first: dict[tuple[str, ...], int] = {}
    for trial in trials:
        earlier = first.setdefault(tuple(sorted((trial.left, trial.right))), trial.line)
        if earlier != trial.line:
            raise _refusal(file, trial.line, f"it compares {trial.left} and {trial.right}, as line {earlier} does")


def _refusal(file: str, line: int, what: str) -> ValueError:
    return ValueError(f"ingest.trials: {file} line {line}: {what}")
