"""Decoding every sample of a source on all cores, in a fixed order and bounded memory."""

import hashlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.raw import Content, Extent, Raw, Reader, Source, Unreadable

CHUNK_FILES = 64
CHUNK_BYTES = 4 << 20
FEW = 64
"""Fewer samples than this are decoded here: starting processes would take longer."""


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """A sample after reading.

    Attributes:
        index: Its place in the source.
        hash: SHA-256 of its content in hex, or None where it could not be read.
        rows: What the decoder made of it, or None where it was rejected.
        reason: Why it was rejected, or None.
    """

    index: int
    hash: str | None
    rows: NDArray[Any] | None
    reason: str | None


Decoder = Callable[[Content], NDArray[Any]]
Outcome = tuple[str | None, NDArray[Any] | None, str | None]
Chunk = list[tuple[int, Raw]]


def decode_all(source: Source, decoder: Decoder, *, sample_bytes: int, workers: int | None = None) -> Iterator[Decoded]:
    """Yield every sample of the source, decoded or rejected, the same whatever the number of workers.

    The order is the source's, except for a compressed tar, which is read in the order in which it was written. At most
    a few megabytes a worker are in flight.

    Args:
        source: The samples and their reader.
        decoder: From content to an array; it raises `Unreadable`, and can be pickled.
        sample_bytes: How large a decoded sample is; it bounds what is in flight.
        workers: Processes that decode; all cores by default, 1 decodes in this process.

    Raises:
        ValueError: fewer than one worker.
        RuntimeError: a process died while decoding.
    """
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}: at least 1 is needed")
    chunks = _chunks(_reading_order(source), most=max(1, min(CHUNK_FILES, CHUNK_BYTES // sample_bytes)))
    if workers == 1 or len(source) < FEW or source.reader.reach == "memory":
        return _decode_here(source.reader, chunks, decoder)
    return _decode_in_pool(source.reader, chunks, decoder, workers=workers)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reading_order(source: Source) -> Iterator[tuple[int, Raw]]:
    if source.reader.reach == "forward":
        return iter(sorted(enumerate(source), key=lambda item: _position(item[1])))
    return enumerate(source)


def _position(raw: Raw) -> int:
    return raw.place if isinstance(raw.place, int) else _extent(raw).offset


def _extent(raw: Raw) -> Extent:
    return raw.place if isinstance(raw.place, Extent) else Extent(0, 0, 0, "tar")


def _chunks(order: Iterator[tuple[int, Raw]], *, most: int) -> Iterator[Chunk]:
    chunk: Chunk = []
    size = 0
    for item in order:
        chunk.append(item)
        size += _extent(item[1]).size
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _decode_here(reader: Reader, chunks: Iterator[Chunk], decoder: Decoder) -> Iterator[Decoded]:
    with reader.reading() as read:
        for chunk in chunks:
            for index, raw in chunk:
                yield Decoded(index, *_outcome(_attempt(read, raw), decoder))


def _decode_in_pool(reader: Reader, chunks: Iterator[Chunk], decoder: Decoder, *, workers: int) -> Iterator[Decoded]:
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_end_with_parent)
    try:
        waiting: deque[tuple[Chunk, Future[list[Outcome]]]] = deque()
        for chunk, future in _submissions(pool, reader, chunks, decoder):
            waiting.append((chunk, future))
            if len(waiting) > 2 * workers:
                yield from _collect(*waiting.popleft())
        while waiting:
            yield from _collect(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _submissions(
    pool: ProcessPoolExecutor, reader: Reader, chunks: Iterator[Chunk], decoder: Decoder
) -> Iterator[tuple[Chunk, Future[list[Outcome]]]]:
    """Submit each chunk: its samples to be read there, or their content where it must be read here."""
    if reader.reach == "anywhere":
        for chunk in chunks:
            yield chunk, pool.submit(_read_and_decode, reader, [raw for _, raw in chunk], decoder)
        return
    with reader.reading() as read:
        for chunk in chunks:
            yield chunk, pool.submit(_decode_contents, [_attempt(read, raw) for _, raw in chunk], decoder)


def _collect(chunk: Chunk, future: "Future[list[Outcome]]") -> Iterator[Decoded]:
    try:
        outcomes = future.result()
    except BrokenProcessPool as error:
        first, last = chunk[0][1].id, chunk[-1][1].id
        raise RuntimeError(
            f"a process died while decoding, in or near {first!r} to {last!r}: out of memory, or a file that crashes "
            f"the decoder; use fewer workers, or take the file out"
        ) from error
    for (index, _), outcome in zip(chunk, outcomes, strict=True):
        yield Decoded(index, *outcome)


def _read_and_decode(reader: Reader, raws: list[Raw], decoder: Decoder) -> list[Outcome]:
    with reader.reading() as read:
        return [_outcome(_attempt(read, raw), decoder) for raw in raws]


def _decode_contents(contents: "list[Content | Unreadable]", decoder: Decoder) -> list[Outcome]:
    return [_outcome(content, decoder) for content in contents]


def _attempt(read: Callable[[Raw], Content], raw: Raw) -> Content | Unreadable:
    if raw.refused is not None:
        return Unreadable(raw.refused)
    try:
        return read(raw)
    except Unreadable as error:
        return error


def _outcome(content: Content | Unreadable, decoder: Decoder) -> Outcome:
    if isinstance(content, Unreadable):
        return None, None, str(content)
    encoded = content.tobytes() if isinstance(content, np.ndarray) else content
    digest = hashlib.sha256(encoded).hexdigest()
    try:
        return digest, decoder(content), None
    except Unreadable as error:
        return digest, None, str(error)


def _context() -> BaseContext:
    """Fork where it is safe: a fork starts in 20 ms, where a fresh process first imports the caller's main module.

    The children only run decoders, NumPy and hashlib, so threads of the parent do not matter to them.
    """
    linux = os.uname().sysname == "Linux" if hasattr(os, "uname") else False
    return multiprocessing.get_context("fork" if linux else "spawn")


def _end_with_parent() -> None:
    """End this process when its parent is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
