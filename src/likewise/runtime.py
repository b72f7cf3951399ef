"""Where and how tensors are computed: device, threads, seeds, processes."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SILENCE = 3.0
"""Seconds for which all processes but the first hold back their complaints."""


def set_up(*, threads: int, seed: int = 0) -> None:
    """Fix what decides the bits of a result: the number of threads, the seed, deterministic algorithms.

    Args:
        threads: CPU threads; sums are split among them, so another number gives other last bits.
        seed: seed of PyTorch's global generators (dropout is all that draws from them).
    """
    # cuBLAS reads this once, when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # The same switch as `use_deterministic_algorithms(True)`, which imports the compiler first: two seconds a stage.
    torch.set_deterministic_debug_mode("error")
    # That mode fills all new memory with NaN, a twentieth of a training step, though everything is written before read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device(name: str = "auto") -> torch.device:
    """Return the device called `auto` (a GPU where there is one), `cpu` or `cuda`; of several processes each its own.

    Raises:
        ValueError: when `cuda` is asked for and there is none.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: given 'cuda', but PyTorch sees no GPU here; use auto or cpu")
    if name == "cuda" and launched():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def launched() -> bool:
    """Tell whether torchrun started this process as one of a group."""
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(module: str, *, processes: int) -> None:
    """Run a module in so many processes on this machine, by torchrun, and wait for them.

    Raises:
        SystemExit: when one of them ends badly, with its exit code; it has said why by then.
        KeyboardInterrupt: when a signal ended them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"likewise-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    # It would tell of its own errands at length; what went wrong, the processes say themselves.
    logging.disable(logging.CRITICAL)
    try:
        elastic_launch(config, sys.executable)("-m", module)
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def process_group(name: str, *, processes: int) -> Iterator[None]:
    """Join the processes that torchrun started: NCCL between GPUs, gloo between CPUs; alone there is nothing to join.

    Args:
        name: the device, as for `device`.
        processes: how many there ought to be.

    Raises:
        ValueError: when there are more or fewer.
    """
    if not launched():
        yield
        return
    given = int(os.environ["WORLD_SIZE"])
    if given != processes:
        raise ValueError(f"torchrun started {given} processes, but train.processes is {processes}; make them the same")
    import torch.distributed

    torch.distributed.init_process_group("nccl" if device(name).type == "cuda" else "gloo")
    try:
        yield
    except (ValueError, OSError):
        # All stumble over the same input: the first one says so, and the others are ended before they say it again.
        if torch.distributed.get_rank() > 0:
            time.sleep(SILENCE)
        raise
    finally:
        torch.distributed.destroy_process_group()


def check_compiler(on: torch.device) -> None:
    """Raise ValueError when PyTorch's compiler would find no C++ compiler to make code for a CPU with."""
    wanted = os.environ.get("CXX", "g++")
    if on.type == "cpu" and shutil.which(wanted) is None:
        raise ValueError(f"compile: PyTorch needs a C++ compiler, and there is no {wanted} here; use compile: false")
