"""No file imports, through others, itself: not even for the type checker alone."""

from __future__ import annotations

import graphlib

import grimp
import pytest


def test_no_file_imports_itself_through_others():
    graph = grimp.build_graph("unweave", cache_dir=None)
    above = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert above["unweave.models.model"] >= {"unweave.models.capture"}
    try:
        graphlib.TopologicalSorter(above).prepare()
    except graphlib.CycleError as found:
        pytest.fail("these import each other: " + " -> ".join(found.args[1]))
