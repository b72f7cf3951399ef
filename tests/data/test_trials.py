from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data.trials import Trial, TrialList, read_trials
from tests.data.pictures import put

CLASSES = {"a/1": "a", "a/2": "a", "b/1": "b", "b/2": "b", "f": None}


def written(folder: Path, text: str | bytes) -> TrialList:
    put(folder / "trials.txt", text if isinstance(text, bytes) else text.encode())
    return read_trials(folder, "trials.txt")


def test_lines_are_taken_in_their_order_with_their_numbers(tmp_path: Path) -> None:
    found = written(tmp_path, "\ufeff1 a/2 a/1\n\n0\tb/1   a/1\r\n  1 b/2 b/1 \n")
    assert found.trials == (
        Trial(1, "a/2", "a/1", True),
        Trial(3, "b/1", "a/1", False),
        Trial(4, "b/2", "b/1", True),
    )
    assert found.ids == {"a/1", "a/2", "b/1", "b/2"}


def test_the_label_is_last_where_the_first_line_says_so_and_first_where_both_would_do(tmp_path: Path) -> None:
    assert written(tmp_path, "a b 1\n0 c 0").trials == (Trial(1, "a", "b", True), Trial(2, "0", "c", False))
    assert written(tmp_path, "1 a 0\n0 b c").trials == (Trial(1, "a", "0", True), Trial(2, "b", "c", False))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.sampled_from("ghijkl")), min_size=2))
def test_whatever_is_written_is_read_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    text = "\n".join(f"{int(same)} {left} {right}" for same, left, right in rows)
    sound = len({row[1:] for row in rows}) == len(rows) and len({same for same, _, _ in rows}) == 2
    if sound:
        assert [(trial.same, trial.left, trial.right) for trial in written(folder, text).trials] == rows
        return
    with pytest.raises(ValueError, match=r"^ingest\.trials: trials\.txt") as caught:
        written(folder, text)
    assert len(str(caught.value).splitlines()) == 1


def test_ids_are_in_unicodes_composed_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9")
    assert written(tmp_path, f"1 a {decomposed}\n0 a b").trials[0].right == "\u00e9"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "trials.txt: none of its 0 trials is of one class (1) and none of two classes (0): both kinds are needed"),
        ("1 a b\n1 a c\n", "trials.txt: none of its 2 trials is of two classes (0): both kinds are needed"),
        ("0 a b\n", "trials.txt: none of its 1 trials is of one class (1): both kinds are needed"),
        ("1 a b\n0 a\n", "trials.txt line 2: 2 words: a trial is a label and two ids, parted by blanks"),
        ("1 a b\n0 my a b\n", "trials.txt line 2: 4 words: a trial is a label and two ids, parted by blanks"),
        ("1 a b\n\nx a c\n", "trials.txt line 3: it begins with 'x', and a label is 1 or 0"),
        ("target a b\n", "trials.txt line 1: it begins with 'target', and a label is 1 or 0"),
        ("a b 1\n1 a c\n", "trials.txt line 2: it ends with 'c', and a label is 1 or 0"),
        ("1 a b\n0 c c\n", "trials.txt line 2: c is compared with itself"),
        ("1 a b\n0 c a\n1 b a\n", "trials.txt line 3: it compares b and a, as line 1 does"),
        ("1 a b\n0 a b\n", "trials.txt line 2: it compares a and b, as line 1 does"),
        (b"1 a \xff\n", "trials.txt: byte 4 is not UTF-8"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line(text: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^ingest\.trials") as caught:
        written(tmp_path, text)
    assert str(caught.value) == f"ingest.trials: {words}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.txt", "gone.txt in .*: No such file"),
        ("../t.txt", r"\.\./t\.txt leads outside ingest\.path"),
        ("/t.txt", "/t.txt leads outside"),
        (".", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_said(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^ingest\.trials: .*{words}"):
        read_trials(tmp_path, name)


def test_a_path_that_is_no_folder_holds_no_list(tmp_path: Path) -> None:
    archive = put(tmp_path / "a.zip", b"")
    with pytest.raises(
        ValueError, match=r"^ingest\.trials: t\.txt must lie in the folder ingest\.path, and .*a\.zip is"
    ):
        read_trials(archive, "t.txt")


def test_an_unknown_sample_is_named_with_the_nearest(tmp_path: Path) -> None:
    found = written(tmp_path, "1 a/1 a/2\n0 a/1 b/01")
    found.refuse_unknown({"a/1", "a/2", "b/01"})
    with pytest.raises(
        ValueError, match=r"^ingest\.trials: trials\.txt line 2: there is no sample 'b/01'; the nearest is 'b/1'$"
    ):
        found.refuse_unknown(set(CLASSES))
    with pytest.raises(ValueError, match=r"line 1: there is no sample 'a/1'$"):
        found.refuse_unknown(set())


def test_an_exact_copy_stands_for_the_one_that_was_kept(tmp_path: Path) -> None:
    found = written(tmp_path, "1 a/1 a/copy\n0 a/2 b/1\n0 f a/1")
    left_out = {"a/copy": "duplicate of a/2"}
    kept = found.among(CLASSES, left_out, {"a/copy": "a/2"})
    assert [(trial.left, trial.right) for trial in kept.trials] == [("a/1", "a/2"), ("a/2", "b/1"), ("f", "a/1")]
    assert kept.ids == {"a/1", "a/2", "b/1", "f"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 a/1 a/bad", "a/bad cannot be used (empty file): mend it, or take the line out"),
        ("1 a/1 a/copy", "a/1 and a/copy are exact copies of each other"),
        ("1 a/1 b/1", "it says of one class (1), and the data of two classes (0): a/1 (a), b/1 (b)"),
        ("0 a/1 a/2", "it says of two classes (0), and the data of one class (1): a/1 (a), a/2 (a)"),
        ("1 a/1 f", "it says of one class (1), and the data of two classes (0): a/1 (a), f (a forgery)"),
    ],
)
def test_a_trial_that_cannot_be_is_refused_with_its_line(line: str, words: str, tmp_path: Path) -> None:
    found = written(tmp_path, f"1 b/1 b/2\n0 a/2 b/2\n{line}")
    left_out = {"a/bad": "empty file", "a/copy": "duplicate of a/1"}
    with pytest.raises(ValueError, match="line 3") as caught:
        found.among(CLASSES, left_out, {"a/copy": "a/1"})
    assert str(caught.value) == f"ingest.trials: trials.txt line 3: {words}"


def test_a_sample_that_is_not_in_test_is_refused(tmp_path: Path) -> None:
    found = written(tmp_path, "1 a/1 a/2\n0 a/1 b/1")
    found.refuse_seen(dict.fromkeys(CLASSES, "test"))
    with pytest.raises(ValueError, match=r"line 2: b/1 is in val, and trials are for test: change ingest\.split$"):
        found.refuse_seen(dict.fromkeys(CLASSES, "test") | {"b/1": "val"})
