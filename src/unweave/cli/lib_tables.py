"""What the commands of `unweave lib` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unweave.interaction.measuring import BasisRun


def peak_mb() -> float | None:
    """Largest memory of this process; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def show_run(found: BasisRun) -> None:
    """One line a layer, and a sentence about the modules."""
    import typer

    from unweave.cli.tables import show

    columns = ["layer", "kept", "nodes needed", "edges needed", "envelope", "low", "high", "gini"]
    rows = [[shown(row[column]) for column in columns] for row in found.table()]
    base = found.nodes[0].base
    show(
        f"{found.model}, basis {found.basis}: {found.nodes[0].score} {base.score:.4f};"
        f" needed to stay within {found.nodes[0].tolerance}",
        columns,
        rows,
    )
    typer.echo(f"with every layer projected at once: {found.projected.score:.4f}")
    if found.modules is not None:
        typer.echo(f"modules of the needed edges: {found.modules!r}")


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return ""
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
