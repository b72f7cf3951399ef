"""The commands that use a model, on files of one's own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import likewise
from likewise import artifacts
from likewise.delivery.registry import Registered
from tests.data.pictures import encoded
from tests.small import empty_store, evaluated, fresh, isolated, registered
from tests.test_cli import Likewise, folder, pictures, refused, run

__all__ = ["empty_store", "evaluated", "folder", "fresh", "isolated", "pictures", "registered", "run"]


@pytest.fixture
def own(evaluated: Path, tmp_path: Path) -> Path:
    """A folder of one's own: two people with two samples each, and a folder with a file that is no sample."""
    media = np.array(artifacts.read_media(evaluated)[0])
    made = tmp_path / "own"
    for name, row in (
        ("people/ann/1", 0),
        ("people/ann/2", 1),
        ("people/bob/1", 10),
        ("people/bob/2", 11),
        ("mixed/1", 2),
        ("mixed/3", 12),
    ):
        path = made / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(media[row][0]))
    (made / "mixed/2.txt").write_text("no image", encoding="utf-8")
    (made / "mixed/.DS_Store").write_bytes(b"\0")
    return made


def test_compare_by_a_stored_rate(folder: Path, pictures: list[Path], run: Likewise) -> None:
    answer = likewise.load(folder).compare(*pictures, far=0.1)
    told = json.loads(run(folder, "compare", *pictures, "--model", ".", "--far", "0.1", "--json").out)
    assert told == asdict(answer)
    refused(run(folder, "compare", *pictures, "--model", ".", "--far", "0.2"), "stored for a rate of 0.2; stored: 0.1")


@pytest.mark.parametrize("out", ["e.parquet", "e.npy"])
def test_embed_writes_what_the_model_says(own: Path, folder: Path, run: Likewise, out: str) -> None:
    files = sorted(own.glob("people/*/*.png"))
    done = run(own, "embed", "people", "mixed/1.png", "--out", out, "--model", folder)
    assert (done.code, done.out, done.err) == (0, f"{out}: 5 embeddings of 8 numbers\n", "")
    wanted = likewise.load(folder).embed([*files, own / "mixed/1.png"])
    ids = [f"people/{file.parent.name}/{file.name}" for file in files] + ["mixed/1.png"]
    if out == "e.npy":
        found = np.load(own / out)
        assert (own / "e.ids.txt").read_text(encoding="utf-8").splitlines() == ids
    else:
        table = pq.read_table(own / out)
        found = np.array(table["vector"].to_pylist(), dtype=np.float32)
        assert table["id"].to_pylist() == ids
        assert table["name"].to_pylist() == ["ann", "ann", "bob", "bob", None]
    np.testing.assert_array_equal(found, wanted)


def test_a_wrong_file_in_the_middle_is_named_or_passed_over(own: Path, folder: Path, run: Likewise) -> None:
    refused(
        run(own, "embed", "mixed", "--out", "e.npy", "--model", folder), "mixed/2.txt: not an image that Pillow can"
    )
    assert not (own / "e.npy").exists()
    done = run(own, "embed", "mixed", "--out", "e.npy", "--model", folder, "--skip")
    assert done.out == "e.npy: 2 embeddings of 8 numbers\n"
    assert done.err == "skipped mixed/2.txt: not an image that Pillow can read\n"
    np.testing.assert_array_equal(np.load(own / "e.npy"), likewise.load(folder).embed(sorted(own.glob("mixed/*.png"))))
    (own / "mixed/0.png").symlink_to("/etc/hostname")
    told = json.loads(run(own, "embed", "mixed", "--out", "e.npy", "--model", folder, "--skip", "--json").out)
    assert told == {
        "path": "e.npy",
        "samples": 2,
        "dimensions": 8,
        "skipped": [
            {"id": "mixed/0.png", "reason": "a link that leads outside the folder"},
            {"id": "mixed/2.txt", "reason": "not an image that Pillow can read"},
        ],
    }
    refused(run(own, "embed", "mixed", "--out", "e.npy", "--model", folder), "mixed/0.png: a link that leads outside")


def test_embed_refuses_in_a_line(own: Path, folder: Path, run: Likewise) -> None:
    options = ("--model", folder, "--out")
    refused(run(own, "embed", "mixed", *options, "e.csv"), "e.csv: embeddings are written as .parquet or .npy")
    refused(run(own, "embed", "gone", *options, "e.npy"), "gone: no such file or folder")
    (own / "empty").mkdir()
    refused(run(own, "embed", "empty", *options, "e.npy"), "empty: there is no file in it")
    (own / "packed").mkdir()
    (own / "packed" / "all.zip").write_bytes(b"PK\5\6" + bytes(18))
    refused(run(own, "embed", "packed", *options, "e.npy"), "packed: holds nothing but an archive; unpack it first")
    refused(run(own, "embed", "mixed", "--model", own, "--out", "e.npy"), "model.json: missing; a model's folder holds")


@pytest.mark.parametrize("kept", [True, False])
def test_who_it_is_by_a_gallery_that_was_saved_or_a_folder(own: Path, folder: Path, run: Likewise, kept: bool) -> None:
    gallery = "people"
    if kept:
        gallery = "people.safetensors"
        done = run(own, "enrol", "people", "--out", gallery, "--model", folder)
        assert done.out == "people.safetensors: 4 samples of 2 names\n"
    model = likewise.load(folder)
    model.enrol([(name, own / f"people/{name}/{n}.png") for name in ("ann", "bob") for n in (1, 2)])
    files = ["people/ann/1.png", "mixed/1.png", "mixed/3.png"]
    answers = model.identify_many([own / file for file in files])
    told = json.loads(run(own, "identify", *files, "--gallery", gallery, "--model", folder, "--json").out)["answers"]
    for row, file, answer in zip(told, files, answers, strict=True):
        assert row["sample"] == file
        assert (row["name"], row["nearest"]) == (answer.name, answer.nearest)
        assert row["id"] == answer.id.removeprefix(f"{own}/")
        assert row["distance"] == pytest.approx(answer.distance, abs=1e-6)
    lines = run(own, "identify", *files, "-g", gallery, "-m", folder).out.splitlines()
    assert lines[0] == "sample\twho\tnearest\tdistance\tprobability"
    assert lines[1].startswith("people/ann/1.png\tann\tpeople/ann/1.png\t0.0000\t")
    assert [line.split("\t")[1] for line in lines[1:]] == [answer.name or "nobody" for answer in answers]


def test_a_gallery_that_is_missing_or_none_is_told_in_a_line(own: Path, folder: Path, run: Likewise) -> None:
    identify = ("identify", "mixed/1.png", "--model", folder)
    refused(run(own, *identify), "--gallery: say among whom: what `likewise enrol` wrote, or a folder with a folder")
    refused(run(own, *identify, "--gallery", "gone"), "gone: there is no such gallery; `likewise enrol` makes one")
    refused(run(own, *identify, "--gallery", "mixed"), "mixed/1.png: lies in no folder with a name")
    refused(run(own, *identify, "--gallery", "mixed/1.png"), "mixed/1.png: not a gallery that `likewise enrol` wrote")
    refused(run(own, "enrol", "gone", "--out", "p.safetensors", "--model", folder), "gone: no such folder")
    refused(run(own, "enrol", "people", "--out", "p.npy", "--model", folder), "p.npy: a gallery is a .safetensors file")
    told = json.loads(run(own, "enrol", "people", "--out", "p.safetensors", "--model", folder, "--json").out)
    assert told == {"path": "p.safetensors", "samples": 4, "names": ["ann", "bob"]}


def test_search_in_the_export_and_in_a_gallery(own: Path, registered: tuple[Path, Registered], run: Likewise) -> None:
    root, _ = registered
    model = likewise.load(root)
    hits = model.search(own / "mixed/1.png", 3)
    query = own / "mixed/1.png"
    told = json.loads(run(root, "search", query, "-k", 3, "--json").out)
    assert told == {"answers": [{"sample": str(query), "hits": [asdict(hit) for hit in hits]}]}
    lines = run(root, "search", query, "--count", 3).out.splitlines()
    assert lines[0] == "sample\tplace\tid\tname\tdistance"
    assert lines[1] == f"{query}\t1\t{hits[0].id}\t{hits[0].name}\t0.0000"
    assert len(lines) == 4
    among = json.loads(run(root, "search", query, "--gallery", own / "people", "--json").out)["answers"][0]["hits"]
    assert among[0]["name"] == "ann"
    assert len(among) == 4


def test_search_without_embeddings_says_what_to_do(own: Path, folder: Path, run: Likewise) -> None:
    done = run(own, "search", "mixed/1.png", "--model", folder)
    refused(done, "nothing to search in: the registry holds no embeddings; enrol samples, or load the model from")


def test_a_name_that_steers_the_terminal_is_written_out(own: Path, folder: Path, run: Likewise) -> None:
    (own / "mixed/2.txt").rename(own / "mixed/2\x1b[2J.txt")
    done = run(own, "embed", "mixed", "--out", "e.npy", "--model", folder)
    refused(done, "mixed/2\\x1b[2J.txt: not an image")
