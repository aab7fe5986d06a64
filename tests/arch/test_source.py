"""Habits that a reader relies on, checked on the syntax tree: nothing is printed, asserted, swallowed or hidden."""

import ast
import re

import pytest

from arch_source import PACKAGE, modules

LAST_LINES = {"unweave.cli.main"}
"""Modules that may catch any exception, because after them there is only the shell."""
EVERYTHING = {"Exception", "BaseException"}


def found(predicate):
    """`module:line` of every node of which the predicate says that it must not be."""
    return [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if predicate(node, module)
    ]


def called(node, *names):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def imports(node, *names):
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in names for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in names


def broad(node, module):
    if not isinstance(node, ast.ExceptHandler):
        return False
    if node.type is None:
        return True
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    names = {one.id for one in kinds if isinstance(one, ast.Name)}
    raises = any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement))
    return bool(names & EVERYTHING) and module.name not in LAST_LINES and not raises


def mutable_default(node, _module):
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
    return any(isinstance(one, ast.List | ast.Dict | ast.Set) or called(one, "list", "dict", "set") for one in defaults)


FORBIDDEN = {
    "print": lambda node, _: called(node, "print"),
    "assert": lambda node, _: isinstance(node, ast.Assert),
    "a broad except that swallows": broad,
    "import *": lambda node, _: isinstance(node, ast.ImportFrom) and any(one.name == "*" for one in node.names),
    "a relative import": lambda node, _: isinstance(node, ast.ImportFrom) and node.level > 0,
    "pickle": lambda node, _: imports(node, "pickle", "cPickle", "dill", "joblib", "shelve", "marshal"),
    "eval or exec": lambda node, _: called(node, "eval", "exec", "compile", "__import__"),
    "torch.load that could run code": lambda node, _: (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
        and not any(one.arg == "weights_only" and ast.unparse(one.value) == "True" for one in node.keywords)
    ),
    "another name for torch.load": lambda node, module: (
        isinstance(node, ast.Attribute)
        and ast.unparse(node) == "torch.load"
        and module.name != "unweave.models.checkpoints"
    ),
    "a mutable default": mutable_default,
    "global": lambda node, _: isinstance(node, ast.Global),
    "os.system": lambda node, _: isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.system", "os.popen"),
    "a global seed": lambda node, module: (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("np.random.seed", "random.seed", "torch.manual_seed")
        and "fork_rng" not in module.text
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_there_is_no(what):
    assert found(FORBIDDEN[what]) == []


def test_public_functions_take_no_keyword_arguments_of_any_name():
    """A misspelt option must be an error, not a key of a dictionary."""
    many = [
        name
        for module in modules()
        for name, node, _ in module.functions()
        if node.args.kwarg is not None and not any(part.startswith("_") for part in name.split("."))
    ]
    # a hook is called by torch with what torch likes
    assert [name for name in many if not name.endswith((".before", ".after", ".carry"))] == []


def test_no_module_is_named_after_nothing():
    names = {part for module in modules() for part in module.name.split(".")}
    assert not names & {"utils", "util", "misc", "common", "manager", "helpers", "core"}


def test_there_are_no_notes_to_authors_and_no_banners():
    """Work to do stands in an issue; a part of a file that needs a banner needs a file."""
    notes = [
        f"{module.name}: {line.strip()}"
        for module in modules()
        for line in module.text.split("\n")
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b(?! #\d)", line) or re.match(r"\s*#\s*[-=#*]{4,}", line)
    ]
    assert notes == []


def test_every_file_is_utf8_with_line_feeds_and_ends_with_one():
    for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2"), *PACKAGE.rglob("*.css")):
        data = path.read_bytes()
        data.decode("utf-8")
        assert b"\r" not in data
        assert data[-1:] == b"\n" != data[-2:-1], path


def test_results_and_configurations_are_frozen():
    """Every dataclass of the package is frozen, or says by its place that it is a builder."""
    builders = {
        "unweave.models.body.ModelState", "unweave.activations.sources.Source", "unweave.study.work.Work",
        "unweave.activations.windows.Unit",
    }  # fmt: skip
    thawed = set()
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                for decorator in node.decorator_list:
                    text = ast.unparse(decorator)
                    if text.startswith("dataclass") and "frozen=True" not in text:
                        thawed.add(f"{module.name}.{node.name}")
    assert thawed <= builders, thawed - builders
