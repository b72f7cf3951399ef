"""Decoding every sample of a source on all cores, in a fixed order and bounded memory."""

import gc
import hashlib
import multiprocessing
import os
import signal
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.data.decoded import DecodeCache
from likewise.data.kinds import Preprocessing
from likewise.data.raw import Content, Extent, Raw, Reader, Source, Unreadable
from likewise.data.volumes import DIGEST_BYTES

CHUNK_BYTES = 2 << 20
"""Of rows, or of files in an archive, that are handed over at a time."""

CHUNK_SECONDS, CHUNK_FILES = 0.2, 1024
"""How long a process works before it hands over, and the most files that it takes at a time."""

WAITS = 10
"""Seconds of waiting, for a slow disk or for others who use the machine, that count as one of work."""

FEW = 64
"""Fewer samples than this are decoded here: starting processes would take longer."""

NO_DIGEST, NOWHERE = bytes(DIGEST_BYTES), Extent(0, 0, 0, "tar")


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Some samples after reading.

    Attributes:
        indices: Their places in the source: int64 (n,).
        digests: SHA-256 of the content of each: uint8 (n, 32), zeros where it could not be read.
        counts: How many rows the decoder made of each: int64 (n,), 0 where it was rejected.
        left_out: How many bytes of each are in none of its rows: int64 (n,), 0 where it was rejected.
        rows: Those rows, one sample's after the other's: (sum of counts, *shape).
        reasons: Why a sample was rejected, by its place in the source.
        recalled: Which ones were in the decode cache: bool (n,).
    """

    indices: NDArray[np.int64]
    digests: NDArray[np.uint8]
    counts: NDArray[np.int64]
    left_out: NDArray[np.int64]
    rows: NDArray[Any]
    reasons: dict[int, str]
    recalled: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """What a process needs to decode: the samples and how to read them, what each becomes, and what is known already.

    Attributes:
        raws: The samples, or none where a process is sent those that it is to read.
    """

    raws: Sequence[Raw]
    reader: Reader
    preprocessing: Preprocessing
    cache: DecodeCache | None


@dataclass(frozen=True, eq=False, slots=True)
class Outcomes:
    """What became of the files of a chunk, as in a `Batch`; places count from its start.

    Attributes:
        crcs: The checksum of each one's rows or reason, where it is for the cache: uint32 (n,).
        damaged: Names of the cache's volumes in which something damaged was met.
        seconds: How long it took, waiting for the most part left out.
    """

    digests: NDArray[np.uint8]
    counts: NDArray[np.int64]
    left_out: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    recalled: NDArray[np.bool_]
    rows: NDArray[Any]
    reasons: dict[int, str]
    damaged: frozenset[str]
    seconds: float


Places = NDArray[np.int64]
"""Of the samples of a chunk, in the source."""

Readable = Content | Unreadable


@dataclass(slots=True)
class Pace:
    """How many files to hand to a process at a time: one at first, then as many as time and memory allow."""

    files: int = 1

    def learn(self, count: int, seconds: float, size: int) -> None:
        """Take in that so many files took so long, and that their rows have so many bytes."""
        most = min(CHUNK_SECONDS / max(seconds, 1e-9), CHUNK_BYTES / max(size, 1)) * count
        self.files = max(1, min(2 * self.files, CHUNK_FILES, int(most)))


def decode_all(
    source: Source, preprocessing: Preprocessing, *, workers: int | None = None, cache: DecodeCache | None = None
) -> Generator[Batch]:
    """Yield every sample of the source, decoded or rejected, the same whatever the number of workers.

    The order is the source's, except for a compressed tar, which is read in the order in which it was written. How
    many samples come at a time is not fixed. At most a few megabytes a worker are in flight.

    Args:
        source: The samples and their reader.
        preprocessing: What each becomes.
        workers: Processes that decode; all cores by default, 1 decodes in this process.
        cache: What was decoded before, and takes what is decoded now.

    Raises:
        ValueError: fewer than one worker.
        ChildProcessError: a process died while decoding.
    """
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}: at least 1 is needed")
    here = workers == 1 or len(source) < FEW or source.reader.reach == "memory"
    # Arrays are decoded already.
    work = Work(source.raws, source.reader, preprocessing, None if source.reader.reach == "memory" else cache)
    pace = Pace()
    chunks = _chunks(source, pace)
    done = _decode_here(work, chunks) if here else _decode_in_pool(work, chunks, workers=workers)
    return _batches(done, work.cache, pace)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(source: Source, pace: Pace) -> Generator[Places]:
    """Yield the places of the next samples to read, until all were."""
    order = _reading_order(source)
    ends = np.cumsum(np.array([_extent(raw).size for raw in source], dtype=np.int64)[order])
    start = 0
    while start < len(order):
        before = ends[start - 1] if start else 0
        # A file that is larger than a chunk may be is one.
        stop = min(start + pace.files, 1 + int(np.searchsorted(ends, before + CHUNK_BYTES)))
        yield order[start:stop]
        start = stop


def _reading_order(source: Source) -> Places:
    if source.reader.reach != "forward":
        return np.arange(len(source))
    return np.argsort(np.array([_position(raw) for raw in source], dtype=np.int64), kind="stable")


def _position(raw: Raw) -> int:
    return raw.place if isinstance(raw.place, int) else _extent(raw).offset


def _extent(raw: Raw) -> Extent:
    return raw.place if isinstance(raw.place, Extent) else NOWHERE


def _batches(done: Generator[tuple[Places, Outcomes]], cache: DecodeCache | None, pace: Pace) -> Generator[Batch]:
    with closing(done):
        for places, outcomes in done:
            batch = _batch(places, outcomes)
            pace.learn(len(places), outcomes.seconds, batch.rows.nbytes)
            if cache is not None:
                cache.drop(outcomes.damaged)
                _keep(batch, outcomes.crcs, cache)
            yield batch


def _keep(batch: Batch, crcs: NDArray[np.uint32], cache: DecodeCache) -> None:
    """Put into the cache what was not there."""
    new = ~batch.recalled & batch.digests.any(axis=1)
    whole = new & (batch.counts > 0)
    rejected = np.flatnonzero(new & (batch.counts == 0))
    order = np.concatenate([np.flatnonzero(whole), rejected])
    cache.keep(
        digests=batch.digests[order],
        counts=batch.counts[order],
        crcs=crcs[order],
        rows=batch.rows if whole.all() else batch.rows[np.repeat(whole, batch.counts)],
        reasons=[batch.reasons[index] for index in batch.indices[rejected].tolist()],
    )


def _batch(places: Places, outcomes: Outcomes) -> Batch:
    return Batch(
        indices=places,
        digests=outcomes.digests,
        counts=outcomes.counts,
        left_out=outcomes.left_out,
        rows=outcomes.rows,
        reasons={int(places[place]): reason for place, reason in outcomes.reasons.items()},
        recalled=outcomes.recalled,
    )


def _decode_here(work: Work, chunks: Generator[Places]) -> Generator[tuple[Places, Outcomes]]:
    with work.reader.reading() as read:
        for places in chunks:
            yield places, _outcomes((_attempt(read, work.raws[place]) for place in places.tolist()), work)


def _decode_in_pool(work: Work, chunks: Generator[Places], *, workers: int) -> Generator[tuple[Places, Outcomes]]:
    context = _context()
    forked = context.get_start_method() == "fork"
    stop, stopping = context.Pipe(duplex=False)
    # A fork has the samples already.
    own = work if forked else replace(work, raws=())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(own, stop))
    try:
        waiting: deque[tuple[Places, Future[Outcomes]]] = deque()
        for places, future in _submissions(pool, work, chunks, forked=forked):
            waiting.append((places, future))
            if len(waiting) > 2 * workers:
                yield _collected(*waiting.popleft(), work)
        while waiting:
            yield _collected(*waiting.popleft(), work)
    except BaseException:
        # Whoever stops does not wait for what is being decoded.
        stopping.send_bytes(b"stop")
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        stop.close()
        stopping.close()


def _submissions(
    pool: ProcessPoolExecutor, work: Work, chunks: Generator[Places], *, forked: bool
) -> Iterator[tuple[Places, Future[Outcomes]]]:
    """Submit each chunk: its samples to be read there, or their content where it must be read here."""
    if work.reader.reach == "anywhere":
        for places in chunks:
            raws = None if forked else [work.raws[place] for place in places.tolist()]
            yield places, pool.submit(_read_and_decode, places, raws)
        return
    with work.reader.reading() as read:
        for places in chunks:
            contents = [_attempt(read, work.raws[place]) for place in places.tolist()]
            yield places, pool.submit(_decode_contents, contents)


def _collected(places: Places, future: "Future[Outcomes]", work: Work) -> tuple[Places, Outcomes]:
    try:
        return places, future.result()
    except BrokenProcessPool as error:
        first, last = (work.raws[places[end]].id for end in (0, -1))
        # An OSError, so that the stage says it on one line.
        raise ChildProcessError(
            f"a process died while decoding, in or near {first!r} to {last!r}: out of memory, or a file that crashes "
            f"the decoder; use fewer workers, or take the file out"
        ) from error


_own: list[Work] = []
"""What this process works on, in a process of the pool: it would be slow to send with every chunk."""


def _begin(work: Work, stop: connection.Connection) -> None:
    """Prepare a process of the pool: it ends with its parent, or when told to, and not by the signals meant for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _own.append(work)
    # Else the collector would touch, and so copy, all that the parent holds.
    gc.freeze()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([stop] if parent is None else [stop, parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _read_and_decode(places: Places, sent: list[Raw] | None) -> Outcomes:
    (work,) = _own
    raws = [work.raws[place] for place in places.tolist()] if sent is None else sent
    with work.reader.reading() as read:
        return _outcomes((_attempt(read, raw) for raw in raws), work)


def _decode_contents(contents: list[Readable]) -> Outcomes:
    (work,) = _own
    return _outcomes(contents, work)


def _attempt(read: Callable[[Raw], Content], raw: Raw) -> Readable:
    if raw.refused is not None:
        return Unreadable(raw.refused)
    try:
        return read(raw)
    except Unreadable as error:
        return error


def _outcomes(contents: Iterable[Readable], work: Work) -> Outcomes:
    begin, worked = time.perf_counter(), time.process_time()
    digests, results, left_out, recalled, crcs = bytearray(), [], [], [], []
    for content in contents:
        digest, result, known = _outcome(content, work)
        digests += digest
        results.append(result)
        left_out.append(_left_out(content, result, work))
        recalled.append(known)
        crcs.append(0 if known or work.cache is None else _checksum(result))
    return Outcomes(
        digests=np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES),
        counts=np.array([0 if isinstance(result, str) else len(result) for result in results], dtype=np.int64),
        left_out=np.array(left_out, dtype=np.int64),
        crcs=np.array(crcs, dtype=np.uint32),
        recalled=np.array(recalled, dtype=bool),
        rows=_joined([result for result in results if not isinstance(result, str)], work.preprocessing),
        reasons={place: result for place, result in enumerate(results) if isinstance(result, str)},
        damaged=frozenset(work.cache.damaged if work.cache is not None else ()),
        seconds=max(time.process_time() - worked, (time.perf_counter() - begin) / WAITS),
    )


def _outcome(content: Readable, work: Work) -> tuple[bytes, NDArray[Any] | str, bool]:
    """Return the content's digest, its rows or why it is rejected, and whether the cache knew it."""
    if isinstance(content, Unreadable):
        return NO_DIGEST, str(content), False
    encoded = content.tobytes() if isinstance(content, np.ndarray) else content
    digest = hashlib.sha256(encoded).digest()
    known = work.cache.recall(digest) if work.cache is not None else None
    if known is not None:
        return digest, known, True
    try:
        return digest, work.preprocessing.decode(content), False
    except Unreadable as error:
        return digest, str(error), False


def _left_out(content: Readable, result: NDArray[Any] | str, work: Work) -> int:
    """Return how many bytes of what was decoded are in none of its rows; the cache does not keep that."""
    if isinstance(content, Unreadable) or isinstance(result, str):
        return 0
    return work.preprocessing.left_out(content)


def _checksum(rows: NDArray[Any] | str) -> int:
    return zlib.crc32(rows.encode()) if isinstance(rows, str) else zlib.crc32(np.ascontiguousarray(rows).data)


def _joined(rows: list[NDArray[Any]], preprocessing: Preprocessing) -> NDArray[Any]:
    """Return them in one array, which is faster to send than many."""
    if not rows:
        return np.empty((0, *preprocessing.shape), preprocessing.dtype)
    joined = np.concatenate(rows)
    if joined.shape[1:] != preprocessing.shape or joined.dtype != preprocessing.dtype:
        raise TypeError(
            f"the decoder of the kind {preprocessing.kind} gave {joined.dtype} {joined.shape[1:]}, and promised "
            f"{preprocessing.dtype} {preprocessing.shape}"
        )
    return joined


def _context() -> BaseContext:
    """Fork where it is safe: a fork starts in 20 ms, where a fresh process first imports the caller's main module.

    The children only run decoders, NumPy and hashlib, so threads of the parent do not matter to them.
    """
    linux = os.uname().sysname == "Linux" if hasattr(os, "uname") else False
    return multiprocessing.get_context("fork" if linux else "spawn")
