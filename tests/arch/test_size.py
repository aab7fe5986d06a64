"""Nothing is large: files, functions, parameter lists, configurations; and no import goes in a circle."""

import ast
import subprocess
import sys
import tomllib

import networkx as nx
import pytest

import samples
from arch_source import ROOT, code_lines, modules, parameters

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60
PARAMETERS = 8
FIELDS_OF_A_CONFIGURATION = 15
LONG_FILES: dict[str, str] = {}
"""File -> why it may be longer."""


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "examples"])
def test_files_are_short(folder):
    long = {
        str(path.relative_to(ROOT)): count
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES_OF_A_FILE
    }
    assert set(long) <= set(LONG_FILES), long


def test_ninety_percent_of_the_files_are_shorter_still():
    counts = sorted(len(module.text.splitlines()) for module in modules())
    assert counts[int(0.9 * len(counts))] < 350


def test_functions_are_short():
    long = {
        name: count
        for module in modules()
        for name, node, _ in module.functions()
        if (count := code_lines(node, module.text)) > LINES_OF_A_FUNCTION
    }
    assert long == {}


def test_functions_take_few_parameters():
    """Commands are exempt, and so are the keyword-only options of public verbs, which go into a configuration."""
    many = {}
    for module in modules():
        if module.name.startswith("unweave.cli."):
            continue
        for name, node, method in module.functions():
            public = not any(part.startswith("_") for part in name.split("."))
            keyword_only = len(node.args.kwonlyargs) if public else 0
            count = len(parameters(node, method=method)) - keyword_only
            if count > PARAMETERS:
                many[name] = count
    assert many == {}


def test_configurations_have_few_fields():
    large = {kind.__name__: len(kind.model_fields) for kind in samples.configs()}
    assert large
    assert {name: count for name, count in large.items() if count > FIELDS_OF_A_CONFIGURATION} == {}


def test_nothing_is_imported_in_a_circle():
    graph = nx.DiGraph(edge for module in modules() for edge in imports_at_the_top(module))
    assert graph.number_of_edges() > 100
    assert [sorted(circle) for circle in nx.strongly_connected_components(graph) if len(circle) > 1] == []


def imports_at_the_top(module):
    """(importer, imported) for what runs when the module is imported: not inside functions, not for type checking."""
    names = {one.name for one in modules()}
    waiting = list(module.tree.body)
    for node in waiting:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [*node.body, *getattr(node, "orelse", [])]
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in names else node.module
                if found in names and found != module.name:
                    yield module.name, found
        elif isinstance(node, ast.Import):
            yield from ((module.name, alias.name) for alias in node.names if alias.name in names)


def test_layers_are_kept():
    """The contracts of pyproject.toml: each module imports only from layers below its own. In a process of its own, as
    the linter switches off every logger that stands.
    """
    call = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_is_in_a_layer():
    """A new package that no contract names would be under no rule."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = {name for row in contracts[0]["layers"] for name in row.replace("|", " ").replace(":", " ").split()}
    first = {".".join(module.name.split(".")[:2]) for module in modules()}
    assert first - layers == {"unweave", "unweave.version", "unweave.__main__"}
