"""Tables of the commands: with headings and aligned columns on a terminal, else lines with tabs for other programs."""

import sys
from collections.abc import Sequence

from gateway.logs.terminal import printable


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout.

    Args:
        headings: of the columns; written on a terminal alone.
        rows: as many texts as there are headings.
    """
    rows = [[printable(text) for text in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
        return
    if not rows:
        return
    table = [headings, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    sys.stdout.writelines(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in table
    )
