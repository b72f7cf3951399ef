"""DVC, imported once: does each command that it reads in a fork of itself, half a second sooner than a new process.

Run as a program it reads an order a line, in JSON, and ends with its input. Nothing of ours is imported.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

IMPORTED_LATE = ("dvc.repo", "dvc.stage.cache", "dvc.data_cloud", "dvc.cachemgr", "dvc.lock", "dvc.rwlock", "dvc.scm")
"""What DVC imports once a command needs it, which every command of the flows does."""


def main() -> None:
    """Do what is read, a command after another."""
    import_module("dvc.cli.parser").get_main_parser()
    for name in IMPORTED_LATE:
        import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        print(f"{order['end']}{done(order)}", flush=True)


def done(order: dict[str, Any]) -> int:
    """Do a command in a fork, and return its exit code.

    Args:
        order: `words`, the command line after `dvc`; its `environment`; and `end`, which no command says, and which is
            written after all that this one says, followed by its exit code.
    """
    fork = os.fork()
    if fork == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = ["dvc", *order["words"]]
        sys.exit(import_module("dvc.cli").main())
    return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])


if __name__ == "__main__":
    main()
