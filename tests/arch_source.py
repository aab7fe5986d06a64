"""The package as text and as syntax trees, for the tests of its architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "unweave"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """As it is imported."""
        parts = self.path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @property
    def is_public(self) -> bool:
        """Whether no part of its name begins with an underscore."""
        return not any(part.startswith("_") for part in self.name.split("."))

    def functions(self) -> Iterator[tuple[str, Function, bool]]:
        """(dotted name, node, whether it is a method) of every function, also of nested ones."""
        yield from _functions(self.tree, self.name, inside_class=False)


def _functions(node: ast.AST, name: str, *, inside_class: bool) -> Iterator[tuple[str, Function, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{name}.{child.name}", child, inside_class
            yield from _functions(child, f"{name}.{child.name}", inside_class=False)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{name}.{child.name}", inside_class=True)
        else:
            yield from _functions(child, name, inside_class=inside_class)


@cache
def modules() -> tuple[Module, ...]:
    """Every file of the package."""
    return tuple(Module(path) for path in sorted(PACKAGE.rglob("*.py")))


def parameters(function: Function, *, method: bool) -> list[ast.arg]:
    """All parameters but `self`, `cls`, `*args` and `**kwargs`."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    return [*(positional[1:] if method and not static else positional), *given.kwonlyargs]


def code_lines(function: Function, text: str) -> int:
    """Lines of the function without its docstring, blank lines and comments of their own line."""
    lines = text.split("\n")[function.lineno - 1 : function.end_lineno]
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        start, end = first.lineno - function.lineno, (first.end_lineno or first.lineno) - function.lineno
        lines = [*lines[:start], *lines[end + 1 :]]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)
