"""Checkpoints of a training that was cut short, kept under the key of what is trained.

They lie outside the project, in a folder or at any fsspec URL that several hosts can reach.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import torch
from filelock import FileLock, Timeout

State = dict[str, Any]


class Checkpoints:
    """The newest checkpoint of one training.

    Args:
        url: folder or fsspec URL that holds the checkpoints of all trainings.
        key: the train key: the same key means the same weights.
        lock_folder: local folder for the lock that keeps two processes from training one key at once.

    Raises:
        ValueError: when fsspec does not know the URL, or lacks its library.
    """

    def __init__(self, url: str, key: str, *, lock_folder: Path) -> None:
        try:
            self._fs, base = fsspec.url_to_fs(url)
        except ImportError as error:
            raise ValueError(f"checkpoints at {url}: {error}") from None
        self._folder = f"{base.rstrip('/')}/{key}"
        self._file = f"{self._folder}/checkpoint.pt"
        self._lock = lock_folder / f"{key}.lock"

    @contextmanager
    def locked(self, *, patience: float = 0.0) -> Iterator[None]:
        """Hold the lock of this key; the system frees it when a process dies.

        Raises:
            TimeoutError: when another process still trains this key after `patience` seconds.
        """
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=patience):
                yield
        except Timeout:
            raise TimeoutError(
                f"another process is training the same thing (lock {self._lock}); wait for it or stop it"
            ) from None

    def load(self, *, device: torch.device) -> State | None:
        """Return the newest state, its tensors on `device`; nothing when there is none.

        Raises:
            ValueError: when the file is broken.
        """
        if not self._fs.exists(self._file):
            return None
        with self._fs.open(self._file, "rb") as stream:
            content = io.BytesIO(stream.read())
        try:
            state: State = torch.load(content, map_location=device, weights_only=True)
        # The unpickler raises nearly every type of error on damaged input.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{self._file}: a broken checkpoint ({reason}); delete it to start anew") from None
        return state

    def save(self, state: State) -> None:
        """Put `state` in the place of the newest; a process killed here leaves the one before."""
        content = io.BytesIO()
        torch.save(state, content)
        self._fs.makedirs(self._folder, exist_ok=True)
        partial = f"{self._file}.partial"
        with self._fs.open(partial, "wb") as stream:
            stream.write(content.getvalue())
        self._fs.mv(partial, self._file)

    def delete(self) -> None:
        """Remove what is kept for this key."""
        if self._fs.exists(self._folder):
            self._fs.rm(self._folder, recursive=True)
