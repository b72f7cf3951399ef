"""The command line: `likewise augment | check | compare | lineage | promote | register | rollback | where`."""

from __future__ import annotations

import sys

import typer

from likewise.commands import pipeline, registry, using
from likewise.config import wait_passively

app = typer.Typer(
    help="Are these two the same? Siamese networks from raw data to a registered model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    pipeline.check,
    pipeline.register,
    registry.lineage,
    registry.promote,
    registry.rollback,
    using.compare,
    pipeline.augment,
    pipeline.where,
):
    app.command()(command)


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    wait_passively()
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"likewise: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
