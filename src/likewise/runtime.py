"""Where and how tensors are computed: device, threads, seeds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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


def device(name: str = "auto") -> torch.device:
    """Return the device called `auto` (a GPU where there is one), `cpu` or `cuda`.

    Raises:
        ValueError: when `cuda` is asked for and there is none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: given 'cuda', but PyTorch sees no GPU here; use auto or cpu")
    return torch.device(name)
