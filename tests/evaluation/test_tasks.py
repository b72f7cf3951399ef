from pathlib import Path

import pytest

from likewise.evaluation.tasks import Line, parse, read_tasks


def ids(lines: list[str]) -> list[list[tuple[str, str]]]:
    return [[(line.probe, line.example) for line in task] for task in parse(lines, where="list")]


def test_blank_lines_and_runs_end_a_task_and_comments_are_not_read() -> None:
    found = ids(["# two tasks", "p1 e1", "p2\te 2", "", " ", "# another", "q1 e1 ", "q2 e2"])
    assert found == [[("p1", "e1"), ("p2", "e 2")], [("q1", "e1"), ("q2", "e2")]]
    runs = ["run01/test/a run01/training/1", "run01/test/b run01/training/2"]
    assert len(ids([*runs, *(line.replace("run01", "run02") for line in runs)])) == 2
    # Folders a class are no runs.
    assert len(ids(["k0/2 k0/1", "k1/2 k1/1"])) == 1
    assert ids([]) == ids(["", "# nothing"]) == []


def test_each_line_knows_its_place() -> None:
    assert parse(["# one", "p e", "", "", "q f", "r g"][4:], where="tasks.txt")[0][1] == Line(
        "tasks.txt: line 2", "r", "g"
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["p e", "q"], "list: line 2: expected the ids of a probe and of the example of its class, given 'q'"),
        (["p e f"], "list: line 1: expected the ids"),
        (["p\t"], "list: line 1: expected the ids"),
        (["p e", "q f", "p f"], "list: line 3: 'p' stands twice in one task"),
        (["p e", "e f"], "list: line 2: 'e' is a probe and an example of one task"),
        (["p e", "", "q f", "r f"], "list: line 1: a task that begins here has one example only"),
    ],
)
def test_refusals_name_the_line(lines: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        parse(lines, where="list")


def test_a_file_and_a_folder_of_official_files(tmp_path: Path) -> None:
    for run in ("run02", "run01"):
        (tmp_path / run).mkdir()
        lines = [f"{run}/test/item0{n}.png {run}/training/class0{n}.png" for n in (1, 2)]
        (tmp_path / run / "class_labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_tasks(tmp_path)
    assert [task[0].probe for task in found] == ["run01/test/item01.png", "run02/test/item01.png"]
    assert found[1][1].place == "run02/class_labels.txt: line 2"
    everything = "".join(path.read_text(encoding="utf-8") for path in sorted(tmp_path.rglob("*.txt")))
    (tmp_path / "all.txt").write_text("\ufeff" + everything, encoding="utf-8")
    one = read_tasks(tmp_path / "all.txt")
    assert [[line.probe for line in task] for task in one] == [[line.probe for line in task] for task in found]


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no class_labels\.txt"):
        read_tasks(tmp_path)
    with pytest.raises(ValueError, match=r"none\.txt: no such file or folder"):
        read_tasks(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"p \xff\xfe")
    with pytest.raises(ValueError, match=r"binary\.txt: byte 2 is not UTF-8"):
        read_tasks(tmp_path / "binary.txt")
