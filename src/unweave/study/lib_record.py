"""The page of an interaction basis: what its ablations need, the graph of the needed edges, cards of its first nodes;
and of several bases side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unweave.artifact import fingerprint
from unweave.interaction.comparing import compare
from unweave.interaction.measuring import BasisRun
from unweave.interaction.subjects import Subject
from unweave.report.page import write_sections
from unweave.report.record import ModelEntry, Record, Run
from unweave.study.flow import versions
from unweave.study.lib_parts import (
    Shown,
    edge_curves,
    graph_figure,
    layer_table,
    means_table,
    module_table,
    needed_figure,
    node_cards,
    node_curves,
)
from unweave.study.words import number

STEP = "interaction"
BASES = {
    "lib": "the local interaction basis",
    "pca": "principal components",
    "neuron": "neurons",
    "random": "random rotation",
}


def write_basis_report(run: BasisRun, subject: Subject, folder: Path, *, command: str) -> Path:
    """Writes `report.html` of one basis into a directory, with the records it is made from, and returns its path.

    Args:
        run: What `measure_subject` gave.
        subject: What it was measured on.
        folder: The directory.
        command: What was asked.

    Raises:
        StoreError: It cannot be written.
    """
    return _write(folder, basis_record(run, subject), command=command, described=_described([run]))


def write_comparison(runs: Sequence[BasisRun], folder: Path, *, command: str) -> Path:
    """Writes `report.html` of several runs side by side, a section a model, and returns its path.

    Args:
        runs: As `compare` takes them.
        folder: The directory.
        command: What was asked.

    Raises:
        StoreError: It cannot be written.
        InputError: As `compare`.
    """
    records = [
        comparison_record([one for one in runs if one.model == model])
        for model in dict.fromkeys(one.model for one in runs)
    ]
    return _write(folder, *records, command=command, described=_described(runs))


def basis_record(run: BasisRun, subject: Subject) -> Record:
    """The section of one basis.

    Args:
        run: What `measure_subject` gave.
        subject: What it was measured on.
    """
    labels = {} if subject.label is None else subject.label(run.result)
    shown = Shown(run=run, subject=subject, labels=labels)
    figures = [node_curves([run]), *edge_curves([run])]
    if run.result.edges:
        figures.append(graph_figure(shown))
    tables = [layer_table(run)]
    if run.modules is not None:
        tables.append(module_table(shown))
    return Record(
        step=STEP, model=run.model, title=f"Nodes and edges that {run.model} needs, {_basis(run)}",
        key=fingerprint(run.table()), summary=sentences(run), figures=tuple(figures), tables=tuple(tables),
        warnings=warnings(run), cards=tuple(node_cards(shown)), results={"layers": run.table()},
    )  # fmt: skip


def comparison_record(runs: Sequence[BasisRun]) -> Record:
    """The section of one model under several bases and seeds.

    Args:
        runs: Of one model.
    """
    runs = sorted(runs, key=lambda one: list(BASES).index(one.basis) if one.basis in BASES else len(BASES))
    rows = compare(runs)
    layers = compare(runs, each_layer=True)
    said = [
        f"{what.title()} needed, summed over layers: "
        + "; ".join(f"{BASES.get(row['basis'], row['basis'])} {_count(row, what)}" for row in rows if row[what])
        + "."
        for what in ("nodes", "edges")
        if any(row[what] for row in rows)
    ]
    first = {one.basis: one for one in reversed(runs)}
    same = [first[row["basis"]] for row in rows]
    return Record(
        step=STEP, model=runs[0].model, title="Bases side by side", key=fingerprint(rows), summary=tuple(said),
        figures=(
            *(needed_figure(layers, what, runs) for what in ("nodes", "edges") if any(row[what] for row in layers)),
            node_curves(same), *edge_curves(same),
        ),
        tables=(means_table("All layers", rows), means_table("By layer", layers)),
        results={"bases": rows, "layers": layers},
    )  # fmt: skip


def sentences(run: BasisRun) -> tuple[str, ...]:
    """What was found of one basis, in words.

    Args:
        run: What `measure` gave.
    """
    base = run.nodes[0]
    unit = "the accuracy within 0.1 points" if base.score == "accuracy" else f"the loss within {base.tolerance} nats"
    nodes = "; ".join(
        f"{one.layer} more than the {run.kept(one.layer)} of its basis"
        if one.layer in run.lossy()
        else f"{one.layer} {run.needed()[one.layer]} of {one.base.kept - 1}"
        for one in run.nodes
    )
    said = [f"Directions that keep {unit} of the model's {number(base.base.score, 3)}, one layer at a time: {nodes}."]
    if run.edges:
        edges = "; ".join(
            f"{one.layer} {'none is enough' if one.needed is None else f'{one.needed:,}'} of {one.mask.numel():,}"
            for one in run.edges
        )
        said.append(f"Edges that do so, by the layer they leave: {edges}.")
    said.append(
        f"With every layer but the last put through its basis and back at once: {number(run.projected.score, 3)}."
    )
    modules = run.modules
    if modules is not None and modules.null:
        verdict = "more modular than" if modules.p_value <= 0.05 else "no more modular than"
        said.append(
            f"The graph of the needed edges is {verdict} graphs with the same degrees: modularity"
            f" {number(modules.modularity)} in {len(modules.members)} modules against"
            f" {number(float(np.mean(modules.null)))} (p = {modules.p_value:.2g})."
        )
    if run.truth:
        kept = run.needed()
        told = "; ".join(f"{layer} {share:.0%} of {kept[layer]}" for layer, share in run.truth.items())
        said.append(f"Needed directions that are about one frequency: {told}.")
    return tuple(said)


def warnings(run: BasisRun) -> tuple[str, ...]:
    """What a reader should know before the numbers.

    Args:
        run: What `measure` gave.
    """
    return tuple(f"At {layer} {run.lossy()[layer]}." for layer in run.lossy())


def _write(folder: Path, *records: Record, command: str, described: str) -> Path:
    entries = tuple(
        ModelEntry(
            name=record.model,
            folder=f"models/{place}",
            description="Interaction basis",
            fingerprint=record.key,
            text=described,
            plan=command,
            steps=(STEP,),
        )
        for place, record in enumerate(records)
    )
    run = Run(
        command=command, config={"command": command}, versions=versions(), models=entries,
        status="complete", planned=("Interaction basis",),
    )  # fmt: skip
    return write_sections(folder, run, records)


def _described(runs: Sequence[BasisRun]) -> str:
    fitted = runs[0].result.inputs
    return f"Fitted on {fitted:,} inputs; ablations are scored on others."


def _basis(run: BasisRun) -> str:
    return BASES.get(run.basis, f"basis {run.basis}")


def _count(row: Mapping[str, Any], what: str) -> str:
    low, high = row[f"{what} range"]
    return f"{row[what]:,.0f}" + (f" [{low:,.0f}, {high:,.0f}]" if low != high else "")
