"""Ends a group of processes when the one that started it is gone, whatever became of that.

Run as a program with the group's number: it waits for the end of its input, which the system closes with its caller,
and then ends the group. A caller that has ended the group itself kills this program. Nothing of ours is imported: it
starts in a few milliseconds, beside every stage.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

GRACE_SECONDS = 3.0
"""How long the group may take to end by itself once it was asked to."""


def main() -> None:
    """Wait for the caller's end, then end the group: asked first, killed after the grace with all that it started."""
    group = int(sys.argv[1])
    while os.read(sys.stdin.fileno(), 1):
        pass
    started = family(group)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def family(group: int) -> set[int]:
    """Return the processes of a group and all that these started, which may have left it; nothing without /proc."""
    parents, found = {}, set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            parent, own_group = entry.read_text().rpartition(")")[2].split()[1:3]
            parents[int(entry.parent.name)] = int(parent)
            if int(own_group) == group:
                found.add(int(entry.parent.name))
    size = -1
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


if __name__ == "__main__":
    main()
