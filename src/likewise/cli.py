"""The command line: `likewise` and its commands, whose groups are the modules of `commands/`."""

from __future__ import annotations

import sys

import typer

from likewise.commands import doctor, pipeline, registry, using
from likewise.config import ConfigError, legible, wait_passively

app = typer.Typer(
    help="Are these two the same? Siamese networks from raw data to a registered model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Frames around help and mistakes are for terminals.
    rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,
)

for command in (
    pipeline.check,
    pipeline.register,
    registry.lineage,
    registry.promote,
    registry.rollback,
    registry.verify,
    using.compare,
    using.embed,
    using.enrol,
    using.identify,
    using.search,
    pipeline.augment,
    pipeline.apply,
    pipeline.where,
    doctor.doctor,
):
    app.command()(command)


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    wait_passively()
    try:
        app()
    except (ValueError, OSError) as error:
        # Only mistakes in the params are several lines.
        said = str(error) if isinstance(error, ConfigError) else legible(str(error))
        print(f"likewise: {said}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
