"""The page of an interaction basis: what it says is what was measured, and the graph holds the needed edges alone."""

import json
from dataclasses import replace

import pytest
import torch

from unweave.interaction.edge_ablation import kept_thresholds
from unweave.interaction.figure import NONE, graph_columns
from unweave.interaction.measuring import measure_subject
from unweave.interaction.subjects import modadd_subject
from unweave.models.modadd import ModularAddition
from unweave.report.record import read_run
from unweave.study.lib_record import basis_record, comparison_record, sentences, write_basis_report, write_comparison


@pytest.fixture(scope="module")
def subject():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return modadd_subject(ModularAddition(modulus=7, width=6, heads=2, head_width=3, neurons=8), "adder")


@pytest.fixture(scope="module")
def runs(subject):
    return [measure_subject(subject, basis=basis, null=3) for basis in ("lib", "pca")]


def test_the_page_tells_what_was_measured(subject, runs, tmp_path):
    record = basis_record(runs[0], subject)
    assert record.results["layers"] == runs[0].table()
    needed = {one.layer: one.needed for one in runs[0].edges}
    assert f"ln1.0 {needed['ln1.0']} of {runs[0].result.edges['ln1.0', 'ln2.0'].numel():,}" in record.summary[1]
    assert [figure.kind for figure in record.figures] == ["curves", "curves", "graph"]
    assert record.cards[0].title.startswith("Direction 1 of ln1.0: ")  # with its Fourier terms
    assert len(record.cards[0].passages[0].rows[0].pieces) == 3
    page = write_basis_report(runs[0], subject, tmp_path / "page", command="unweave lib modadd")
    assert "Direction 1 of ln1.0" in page.read_text(encoding="utf-8")
    assert read_run(tmp_path / "page").command == "unweave lib modadd"


def test_the_graph_shows_needed_edges_between_nodes_by_module(runs):
    run = runs[0]
    thresholds = kept_thresholds(run.result, run.edges)
    columns = graph_columns(run.result, modules=run.modules, threshold=thresholds, only_linked=True)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    edges = [row for row in rows if row["what"] == "edge"]
    assert len(edges) == sum(int((run.result.edges[pair] > least).sum()) for pair, least in thresholds.items())
    ends = {(row["x"], row["y"]) for row in edges} | {(row["x2"], row["y2"]) for row in edges}
    nodes = [row for row in rows if row["what"] == "node"]
    assert {(row["x"], row["y"]) for row in nodes} == ends
    for layer in range(4):
        names = [row["module"] for row in sorted(nodes, key=lambda row: row["y"]) if row["x"] == layer]
        assert names == sorted(names, key=lambda name: (name == NONE, name))


def test_bases_stand_side_by_side(runs, tmp_path):
    record = comparison_record([*reversed(runs), replace(runs[1], seed=1)])
    assert [row["basis"] for row in record.results["bases"]] == ["lib", "pca"]
    assert record.summary[0].startswith("Nodes needed, summed over layers: the local interaction basis ")
    table = record.tables[0]
    assert table.rows[1][table.columns.index("seeds")] == 2
    write_comparison(runs, tmp_path / "page", command="unweave lib compare")
    found = json.loads((tmp_path / "page/models/0/interaction/record.json").read_text(encoding="utf-8"))
    assert found["results"]["bases"][0]["edges"] == sum(one.needed for one in runs[0].edges)


def test_a_basis_that_is_not_enough_is_said(subject):
    cut = measure_subject(subject, with_edges=False, options={"rel_L": 0.9, "edges": "none"})
    few = replace(cut, nodes=tuple(replace(one, needed=one.base.kept) for one in cut.nodes))
    kept = few.kept("unembed")
    assert kept < few.nodes[-1].base.kept - 1
    assert f"all {kept} directions of the basis together do not keep the accuracy" in few.lossy()["unembed"]
    assert f"unembed more than the {kept} of its basis" in sentences(few)[0]
    assert len(basis_record(few, subject).warnings) == len(few.lossy()) > 0


def test_a_graph_of_single_edges_is_drawn(runs, subject):
    """One edge needed at each layer: none is above the weakest needed one, so the nodes stand alone."""
    run = runs[0]
    least = {pair: float(edges.max()) for pair, edges in run.result.edges.items()}
    assert "edge" not in graph_columns(run.result, threshold=least, only_linked=True)["what"]
