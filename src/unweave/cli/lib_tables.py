"""What the commands of `unweave lib` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from unweave.interaction.measuring import BasisRun
    from unweave.interaction.subjects import Subject


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

    names = ["layer", "kept", "nodes needed", "edges needed", "envelope", "low", "high", "gini"]
    table = found.table()
    columns = [name for name in names if any(row[name] is not None for row in table)]
    lossy = found.lossy()
    rows = [
        [
            f"> {row['kept']}" if name == "nodes needed" and row["layer"] in lossy else shown(row[name])
            for name in columns
        ]
        for row in table
    ]
    base = found.nodes[0].base
    show(
        f"{found.model}, basis {found.basis}: {found.nodes[0].score} {base.score:.4f};"
        f" needed to stay within {found.nodes[0].tolerance}",
        columns,
        rows,
    )
    for layer, told in lossy.items():
        typer.echo(f"{layer}: {told}")
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


def check_asked(basis: str, out: Path | None, report: Path | None) -> None:
    """Refuses an unknown basis and places that are taken, before the model is loaded.

    Raises:
        UnknownName: There is no such basis.
        InputError: Something else stands at a place.
    """
    from unweave.artifact_files import check_replaceable
    from unweave.errors import unknown_name
    from unweave.interaction.config import BASES

    if basis not in BASES:
        raise unknown_name("basis", basis, BASES)
    if out is not None:
        check_replaceable(out)
    check_report(report, out)


def keep(found: BasisRun, subject: Subject, out: Path | None, report: Path | None) -> list[str]:
    """Saves the run and writes its page where that was asked for, and says where."""
    from unweave.artifact import save

    told = []
    if out is not None:
        save(found, out)
        told.append(f"result: {out}")
    if report is not None:
        told.append(f"report: {write_page(found, subject, report)}")
    return told


def check_report(folder: Path | None, out: Path | None = None) -> None:
    """Refuses a place for the page, before the work: a file, the artifact's own directory, or someone else's.

    Raises:
        InputError: It is one of those.
    """
    from unweave.errors import InputError
    from unweave.report.record import RUN

    if folder is None:
        return
    if out is not None and folder.resolve() == out.resolve():
        raise InputError(f"--report and --out are both {out}: choose two directories")
    taken = next((one for one in (folder, *folder.parents) if one.is_file()), None)
    if taken is not None:
        raise InputError(f"--report is {folder}, but {taken} is a file: choose a directory")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RUN).exists():
        raise InputError(f"--report is {folder}, which holds other files: choose an empty directory")


def write_page(found: BasisRun | list[BasisRun], subject: Subject | None, folder: Path) -> Path:
    """The page of one run, or of several side by side."""
    import shlex
    import sys

    from unweave.study.lib_record import write_basis_report, write_comparison

    command = shlex.join(["unweave", *sys.argv[1:]])
    if isinstance(found, list) or subject is None:
        return write_comparison(found if isinstance(found, list) else [found], folder, command=command)
    return write_basis_report(found, subject, folder, command=command)
