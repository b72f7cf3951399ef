from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from likewise import artifacts
from likewise.delivery import arrivals, collection, parts
from likewise.delivery.arrivals import Outcome, Shard
from likewise.delivery.loading import load
from likewise.delivery.model import Model
from likewise.delivery.parts import EMBEDDED, REFUSED, Pile
from tests.data.pictures import encoded
from tests.delivery.untrained import picture, write_model

RULE = collection.IndexRule("auto", 10_000, 1_000_000, 0.95)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(delivered: Path) -> Model:
    return load(delivered)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """12 files: 8 different pictures, one of them constant; two copies; one that is no picture, and a broken link."""
    folder = tmp_path / "inbox"
    (folder / "ann").mkdir(parents=True)
    for number in range(7):
        (folder / ("ann" if number % 2 else "") / f"{number}.png").write_bytes(encoded(picture(number)))
    (folder / "grey.png").write_bytes(encoded(np.full((8, 8), 128, np.uint8)))
    for name in ("copy.png", "ann/copy.png"):
        (folder / name).write_bytes(encoded(picture(0)))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return folder


def run(model: Model, inbox: Path, out: Path, *, shards: int = 1, only: tuple[int, ...] = (), size: int = 3) -> Outcome:
    """Do what a run of the flow does; some of its shards only, where they are named."""
    folder = parts.model_folder(out, model.weights)
    piles = [Pile(folder, table) for table in (EMBEDDED, REFUSED)]
    for pile in piles:
        pile.commit()
    before = piles[0].hashes()
    source = arrivals.open_arrivals(inbox)
    found = arrivals.scan(source, arrivals.seen_before(out))
    arrivals.remember(found, out)
    for number in only or range(shards):
        Shard(folder, number, shards, size).run(model, source, found)
    for pile in piles:
        pile.commit()
    return arrivals.settle(found, before, folder)


def test_every_file_has_an_outcome(model: Model, inbox: Path, tmp_path: Path) -> None:
    outcome = run(model, inbox, tmp_path / "out")
    assert (outcome.found, outcome.embedded, outcome.contents, outcome.known, outcome.left) == (12, 10, 8, 0, 0)
    folder = parts.model_folder(tmp_path / "out", model.weights)
    bad = arrivals.QUARANTINE.read(folder).set_index("id")["reason"]
    assert bad["gone.png"] == "a broken link"
    assert bad["broken.png"] == "not an image that Pillow can read"
    assert sorted(bad.index) == ["broken.png", "gone.png"]
    assert sum(outcome.quarantined.values()) == 2
    assert str(outcome) == "12 files: 10 embedded (8 different), 0 known already, 2 in quarantine"


def test_the_embeddings_are_the_models(model: Model, inbox: Path, tmp_path: Path) -> None:
    run(model, inbox, tmp_path / "out")
    folder = parts.model_folder(tmp_path / "out", model.weights)
    frame = collection.collect(tmp_path / "out", folder)
    assert len(frame) == 10
    assert frame.set_index("id")["class"].dropna().to_dict() == dict.fromkeys(
        ("ann/1.png", "ann/3.png", "ann/5.png", "ann/copy.png"), "ann"
    )
    for name, vector in zip(frame["id"], frame["vector"], strict=True):
        np.testing.assert_allclose(vector, model.embed(inbox / name)[0], atol=1e-6)
    rows = Pile(folder, EMBEDDED).rows()
    assert rows["constant"].sum() == 1
    grey = arrivals.digest_of((inbox / "grey.png").read_bytes())
    assert rows.loc[rows["constant"], "hash"].tolist() == [grey]


def test_a_second_run_embeds_nothing_and_one_more_file_alone(
    model: Model, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(model, inbox, out)
    kept = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    asked: list[int] = []
    embed = Model.embed

    def counted(self: Model, items: Any) -> np.ndarray[Any, Any]:
        listed = list(items)
        asked.append(len(listed))
        return embed(self, listed)

    monkeypatch.setattr(Model, "embed", counted)
    outcome = run(model, inbox, out)
    assert (outcome.embedded, outcome.known, sum(outcome.quarantined.values())) == (0, 10, 2)
    assert "nothing new" in str(outcome)
    assert not asked
    assert {path: path.read_bytes() for path in out.rglob("*.parquet")} == kept
    (inbox / "new.png").write_bytes(encoded(picture(20)))
    assert run(model, inbox, out).embedded == 1
    assert asked == [1]


def test_a_file_that_is_as_it_was_is_not_read_again_and_no_change_is_missed(inbox: Path, tmp_path: Path) -> None:
    source = arrivals.open_arrivals(inbox)
    found = arrivals.scan(source, arrivals.seen_before(tmp_path))
    told = found.assign(hash=found["hash"].where(found["id"] != "0.png", "f" * 64))
    assert arrivals.scan(source, told).set_index("id")["hash"]["0.png"] == "f" * 64
    # As long as before, and with the time of before: as some tools leave a file.
    file = inbox / "0.png"
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = arrivals.scan(source, told).set_index("id")["hash"]
    assert again["0.png"] == arrivals.digest_of(file.read_bytes()) != found.set_index("id")["hash"]["0.png"]


def test_shards_are_disjoint_and_together_all(model: Model, inbox: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(model, inbox, whole)
    first = run(model, inbox, halves, shards=2, only=(0,))
    assert 0 < first.embedded < 10
    assert first.left == 12 - first.embedded - sum(first.quarantined.values()) > 0
    assert run(model, inbox, halves, shards=2).left == 0
    one, two = (Pile(parts.model_folder(out, model.weights), EMBEDDED).rows() for out in (whole, halves))
    assert one["hash"].tolist() == two["hash"].tolist()
    np.testing.assert_allclose(np.stack(list(one["vector"])), np.stack(list(two["vector"])), atol=1e-6)


def test_a_file_that_changes_between_scan_and_embedding_is_left(model: Model, inbox: Path, tmp_path: Path) -> None:
    source = arrivals.open_arrivals(inbox)
    found = arrivals.scan(source, arrivals.seen_before(tmp_path))
    (inbox / "grey.png").write_bytes(encoded(picture(30)))
    (inbox / "2.png").unlink()
    folder = tmp_path / "model"
    Shard(folder).run(model, source, found)
    for table in (EMBEDDED, REFUSED):
        Pile(folder, table).commit()
    outcome = arrivals.settle(found, set(), folder)
    assert (outcome.embedded, outcome.left) == (8, 2)
    assert str(outcome).endswith("2 left for the next run")


def test_the_folder_is_one_that_a_model_searches(model: Model, inbox: Path, tmp_path: Path, delivered: Path) -> None:
    out = tmp_path / "out"
    run(model, inbox, out)
    folder = parts.model_folder(out, model.weights)
    place = folder / collection.FOLDER
    collection.deliver(delivered, folder)
    told = collection.publish(collection.collect(out, folder), model, folder, RULE)
    assert (told["count"], told["kind"]) == (10, "flat")
    hits = load(place).search(inbox / "ann/3.png", 1)
    assert [(hit.id, hit.name) for hit in hits] == [("ann/3.png", "ann")]
    before = (place / "index.faiss").stat().st_mtime_ns
    assert collection.publish(collection.collect(out, folder), model, folder, RULE) == told
    assert (place / "index.faiss").stat().st_mtime_ns == before
    (place / "index.faiss").write_bytes(b"half of it")
    collection.publish(collection.collect(out, folder), model, folder, RULE)
    assert load(place).search(inbox / "ann/3.png", 1)[0].id == "ann/3.png"


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_the_third_part(patch: pytest.MonkeyPatch) -> None:
    stage, calls = Pile.stage, list[int]()

    def counted(self: Pile, frame: pd.DataFrame) -> None:
        calls.append(1)
        if len(calls) > 2:
            die()
        stage(self, frame)

    patch.setattr(Pile, "stage", counted)


def before_the_commit(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Pile) -> int:
        if list(self.folder.rglob("*.parquet")):
            die()
        return 0

    patch.setattr(Pile, "commit", commit)


def in_the_middle_of_a_commit(patch: pytest.MonkeyPatch) -> None:
    move, calls = Path.replace, list[int]()

    def counted(self: Path, target: Path) -> Path:
        if self.suffix == ".parquet":
            calls.append(1)
        if len(calls) > 1:
            die()
        return move(self, target)

    patch.setattr(Path, "replace", counted)


@pytest.mark.parametrize("crash", [at_the_third_part, before_the_commit, in_the_middle_of_a_commit])
def test_a_run_that_is_killed_leaves_no_row_twice_and_none_out(
    crash: Callable[[pytest.MonkeyPatch], None],
    model: Model,
    inbox: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    child = os.fork()
    if child == 0:
        try:
            crash(monkeypatch)
            run(model, inbox, out)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    folder = parts.model_folder(out, model.weights)
    assert Pile(folder, EMBEDDED).hashes(staged=True)
    outcome = run(model, inbox, out)
    rows = pd.concat([pd.read_parquet(file) for file in (folder / "parts").glob("*.parquet")])
    assert len(rows) == rows["hash"].nunique() == 8
    assert (outcome.left, sum(outcome.quarantined.values()), outcome.found) == (0, 2, 12)
    assert outcome.embedded + outcome.known == 10
    assert not list(folder.glob("staged/*/*.parquet"))


def test_what_two_processes_staged_is_taken_over_once(tmp_path: Path) -> None:
    pile = Pile(tmp_path, REFUSED)
    a, b, c = (64 * letter for letter in "abc")
    for hashes in ([a], [a, b], [b, c]):
        pile.stage(pd.DataFrame({"hash": hashes, "reason": ["x"] * len(hashes)}, dtype="str"))
    assert pile.commit() == 3
    assert pile.rows()["hash"].tolist() == [a, b, c]
    rows = [row for file in (tmp_path / "refused").glob("*.parquet") for row in pd.read_parquet(file)["hash"]]
    assert sorted(rows) == [a, b, c]
    assert pile.commit() == 0


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    pile = Pile(tmp_path, REFUSED)
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "half.parquet").write_bytes(b"PAR1")
    for look in (pile.rows, pile.hashes):
        with pytest.raises(artifacts.ArtifactError, match=r"refused/half\.parquet: not a readable Parquet file"):
            look()
