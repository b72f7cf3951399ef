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

GRACE_SECONDS = 3.0
"""How long the group may take to end by itself once it was asked to."""


def main() -> None:
    """Wait for the caller's end, then end the group: asked first, killed after the grace."""
    group = int(sys.argv[1])
    while os.read(sys.stdin.fileno(), 1):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
