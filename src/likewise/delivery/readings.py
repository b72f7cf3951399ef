"""What a training asks of the machine, read once an epoch: processor, memory, disk, network, GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own variable: `false` switches the readings off."""

MEGA = 1e6


class Readings:
    """Means since the last reading, under MLflow's names: its page shows them as system metrics.

    MLflow's own monitor reads and writes every ten seconds in a thread of its own; here a reading costs a millisecond,
    belongs to an epoch, and goes with that epoch's figures in their call.
    """

    def __init__(self) -> None:
        self._on = os.environ.get(SWITCH, "true").lower() not in {"false", "0"}
        self._process = psutil.Process()
        self._last = _counters(self._process)

    def since_last(self) -> dict[str, float]:
        """Return what was used since the last call, shares in per cent of the machine; nothing where switched off."""
        if not self._on:
            return {}
        now, last = _counters(self._process), self._last
        self._last = now
        gone = {name: value - last[name] for name, value in now.items() if name in last}
        found = _rates(gone) | _memory(self._process) | _gpus()
        return {f"system/{name}": round(value, 3) for name, value in found.items()}


def _counters(process: psutil.Process) -> dict[str, float]:
    """Return what only ever grows, in seconds and megabytes; what a system does not count is left out."""
    own, machine = process.cpu_times(), psutil.cpu_times()._asdict()
    idle = machine["idle"] + machine.get("iowait", 0.0)
    disk, net = psutil.disk_io_counters(), psutil.net_io_counters()
    counted = {"seconds": time.monotonic(), "process": own.user + own.system, "busy": total(machine) - idle}
    if disk is not None:
        counted |= {"disk_read": disk.read_bytes / MEGA, "disk_write": disk.write_bytes / MEGA}
    if net is not None:
        counted |= {"network_receive": net.bytes_recv / MEGA, "network_transmit": net.bytes_sent / MEGA}
    return counted


def total(times: Mapping[str, float]) -> float:
    """Return the seconds of all processors together; a guest's are in its host's already.

    Example:
        >>> total({"user": 5.0, "idle": 2.0, "guest": 1.0})
        7.0
    """
    return sum(seconds for name, seconds in times.items() if name not in {"guest", "guest_nice"})


def _rates(gone: Mapping[str, float]) -> dict[str, float]:
    seconds = max(gone["seconds"], 1e-9)
    share = 100 / (seconds * (psutil.cpu_count() or 1))
    moved = {name: gone[name] for name in gone if name.startswith(("disk_", "network_"))}
    return {
        "epoch_seconds": seconds,
        "cpu_utilization_percentage": min(100.0, gone["busy"] * share),
        "process_cpu_utilization_percentage": min(100.0, gone["process"] * share),
        **{f"{name}_megabytes": value for name, value in moved.items()},
    }


def _memory(process: psutil.Process) -> dict[str, float]:
    machine = psutil.virtual_memory()
    return {
        "system_memory_usage_megabytes": machine.used / MEGA,
        "system_memory_usage_percentage": 100 * machine.used / machine.total,
        "process_memory_usage_megabytes": process.memory_info().rss / MEGA,
    }


def _gpus() -> dict[str, float]:
    """Return what the GPU in use has taken of its memory, and how busy it is where NVIDIA's library can be asked."""
    import torch

    # To ask for another GPU's memory would take some of it.
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    index = torch.cuda.current_device()
    free, everything = torch.cuda.mem_get_info(index)
    found = {
        "memory_usage_megabytes": (everything - free) / MEGA,
        "memory_usage_percentage": 100 - 100 * free / everything,
    }
    with suppress(ImportError, RuntimeError):
        found["utilization_percentage"] = float(torch.cuda.utilization(index))
    return {f"gpu_{index}_{name}": value for name, value in found.items()}
