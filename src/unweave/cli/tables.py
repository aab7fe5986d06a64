"""Tables on standard output: drawn on a terminal, columns with blanks between them elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a table of texts; columns of numbers are set to the right."""
    numeric = [all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
    if sys.stdout.isatty():
        _drawn(title, columns, rows, numeric)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    typer.echo(title)
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def _drawn(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _is_number(text: str) -> bool:
    return not text or text.lstrip("+-").replace(".", "").replace("e", "").replace("-", "").isdigit()
