from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from likewise.learning.checkpoint import Checkpoints

CPU = torch.device("cpu")
STATE: dict[str, Any] = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])},
    "history": [{"epoch": 1, "loss": 0.5}],
    "best_val_eer": float("inf"),
}
HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "checkpoints") if request.param == "folder" else f"memory://{uuid.uuid4()}/checkpoints"


def store(url: str, tmp_path: Path, key: str = "key") -> Checkpoints:
    return Checkpoints(url, key, lock_folder=tmp_path / "locks")


def files(url: str) -> list[str]:
    system, base = fsspec.url_to_fs(url)
    return [name.rsplit("/", 1)[1] for name in system.find(base)] if system.exists(base) else []


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


def test_what_is_saved_is_loaded_by_its_key_only(url: str, tmp_path: Path) -> None:
    assert store(url, tmp_path).load(device=CPU) is None
    store(url, tmp_path).save(STATE)
    assert same(store(url, tmp_path).load(device=CPU), STATE)
    assert store(url, tmp_path, "other").load(device=CPU) is None


def test_the_newest_takes_the_place_of_the_one_before(url: str, tmp_path: Path) -> None:
    store(url, tmp_path).save(STATE)
    store(url, tmp_path).save(STATE | {"best_val_eer": 0.25})
    found = store(url, tmp_path).load(device=CPU)
    assert found is not None
    assert found["best_val_eer"] == 0.25
    assert files(url) == ["checkpoint.pt"]


def test_delete_leaves_nothing_and_only_of_its_key(url: str, tmp_path: Path) -> None:
    store(url, tmp_path).delete()
    store(url, tmp_path).save(STATE)
    store(url, tmp_path, "other").save(STATE)
    store(url, tmp_path).delete()
    assert store(url, tmp_path).load(device=CPU) is None
    assert store(url, tmp_path, "other").load(device=CPU) is not None
    store(url, tmp_path, "other").delete()
    assert files(url) == []


def test_a_partial_file_that_a_kill_left_does_not_matter(url: str, tmp_path: Path) -> None:
    system, base = fsspec.url_to_fs(url)
    store(url, tmp_path).save(STATE)
    system.pipe_file(f"{base}/key/checkpoint.pt.partial", b"half of")
    assert same(store(url, tmp_path).load(device=CPU), STATE)
    store(url, tmp_path).save(STATE | {"best_val_eer": 0.25})
    assert files(url) == ["checkpoint.pt"]


def test_only_a_partial_file_is_no_checkpoint(url: str, tmp_path: Path) -> None:
    system, base = fsspec.url_to_fs(url)
    system.makedirs(f"{base}/key", exist_ok=True)
    system.pipe_file(f"{base}/key/checkpoint.pt.partial", b"half of")
    assert store(url, tmp_path).load(device=CPU) is None


def test_a_save_that_fails_leaves_the_one_before(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(url, tmp_path)
    checkpoints.save(STATE)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.url_to_fs(url)[0]), "mv", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(STATE | {"best_val_eer": 0.25})
    assert same(checkpoints.load(device=CPU), STATE)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    checkpoints = store(str(tmp_path), tmp_path)
    checkpoints.save({"weights": Evil()})
    with pytest.raises(ValueError, match=r"checkpoint\.pt: a broken checkpoint \(Weights only load failed"):
        checkpoints.load(device=CPU)


@pytest.mark.parametrize("content", [b"", b"half of a file", b"PK\x03\x04 and no more"])
def test_a_broken_file_is_told_in_a_line_with_what_to_do(url: str, tmp_path: Path, content: bytes) -> None:
    checkpoints = store(url, tmp_path)
    checkpoints.save(STATE)
    system, base = fsspec.url_to_fs(url)
    system.pipe_file(f"{base}/key/checkpoint.pt", content)
    with pytest.raises(
        ValueError, match=r"key/checkpoint\.pt: a broken checkpoint \(.*\); delete it to start anew"
    ) as caught:
        checkpoints.load(device=CPU)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("scheme", ["nowhere", "gs"])
def test_a_place_that_cannot_be_reached_from_here_is_said(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Protocol not known: nowhere|checkpoints at gs://x: Please install gcsfs"):
        store(f"{scheme}://x", tmp_path)


def test_another_process_that_holds_the_lock_is_named(tmp_path: Path) -> None:
    with store(str(tmp_path), tmp_path).locked():
        (lock,) = (tmp_path / "locks").iterdir()
    words = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError, match=r"another process is training the same thing \(lock .*key\.lock\)"):
            store(str(tmp_path), tmp_path).locked().__enter__()
        with store(str(tmp_path), tmp_path, "other").locked():
            pass
        other.kill()
    with store(str(tmp_path), tmp_path).locked(patience=5):
        pass


def test_the_lock_is_freed_when_training_fails(tmp_path: Path) -> None:
    checkpoints = store(str(tmp_path), tmp_path)
    with pytest.raises(KeyboardInterrupt), checkpoints.locked():
        raise KeyboardInterrupt
    with checkpoints.locked():
        pass
