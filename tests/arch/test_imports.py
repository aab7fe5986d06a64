"""Importing changes nothing outside and pulls in nothing heavy; the table of contents is one table."""

import ast
import importlib
import json
import subprocess
import sys

import pytest

import unweave as uw
from arch_source import PACKAGE, modules

HEAVY = ("torch", "sklearn", "transformers", "scipy", "numpy", "pydantic", "altair", "networkx", "safetensors", "rich")

STATE = """
import json, locale, logging, os, random, signal, sys, threading, warnings

def state():
    root = logging.getLogger()
    return {
        "excepthook": repr(sys.excepthook), "unraisablehook": repr(sys.unraisablehook),
        "displayhook": repr(sys.displayhook), "filters": repr(warnings.filters), "show": repr(warnings.showwarning),
        "environment": dict(os.environ), "directory": os.getcwd(), "path": list(sys.path),
        "random": repr(random.getstate()), "handlers": repr(root.handlers), "level": root.level,
        "disabled": logging.root.manager.disable, "locale": locale.setlocale(locale.LC_ALL),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "threads": threading.active_count(), "hooks": len(sys.meta_path), "recursion": sys.getrecursionlimit(),
        "streams": [repr(stream) for stream in (sys.stdout, sys.stderr, sys.stdin)],
        "switch": sys.getswitchinterval(), "trace": repr(sys.gettrace()),
    }
"""


def in_a_fresh_process(script):
    done = subprocess.run([sys.executable, "-W", "error", "-c", STATE + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_changes_nothing_outside_and_is_light():
    found = in_a_fresh_process("""
before = state()
import unweave
after = state()
own = [type(handler).__name__ for handler in logging.getLogger("unweave").handlers]
print(json.dumps({"same": before == after, "own": own, "modules": sorted(sys.modules),
                  "different": [key for key in before if before[key] != after[key]]}))
""")
    assert found["different"] == []
    assert set(found["own"]) <= {"NullHandler"}
    assert not {name.split(".")[0] for name in found["modules"]} & set(HEAVY)


@pytest.mark.slow
def test_random_states_of_the_libraries_are_left_alone():
    """Every module is imported, and the generators of torch and numpy, the threads and the dtype stay as they were."""
    names = [module.name for module in modules()]
    found = in_a_fresh_process(f"""
import numpy, torch
def numbers():
    return [torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), torch.get_num_threads(),
            str(torch.get_default_dtype()), torch.is_grad_enabled(), repr(numpy.geterr())]
import transformers, sklearn, altair, jinja2, typer, networkx, pydantic, vl_convert, scipy.stats, filelock, fsspec
before, numbers_before = state(), numbers()
import importlib
for name in {names!r}:
    importlib.import_module(name)
after = state()
print(json.dumps({{"different": [key for key in before if before[key] != after[key]],
                   "numbers": numbers() == numbers_before}}))
""")
    assert found == {"different": [], "numbers": True}


def test_the_command_line_starts_without_heavy_imports():
    """Help and every wrong command are answered before torch, transformers, pydantic or altair are needed."""
    found = in_a_fresh_process("""
from unweave.cli.main import app
import typer.main
typer.main.get_command(app)
print(json.dumps(sorted(sys.modules)))
""")
    assert not {name.split(".")[0] for name in found} & {
        "torch",
        "transformers",
        "pydantic",
        "altair",
        "numpy",
        "sklearn",
    }


def test_the_report_is_importable_without_torch():
    found = in_a_fresh_process("import unweave.report.page\nprint(json.dumps(sorted(sys.modules)))")
    assert not {name.split(".")[0] for name in found} & {"torch", "transformers", "sklearn", "scipy"}


def type_checking_block():
    """Name -> module of the imports that only type checkers see."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "a name without `as` is not exported for type checkers"
            found[alias.name] = node.module
    return found


def test_the_table_of_contents_is_one_table():
    table = {name: module or "unweave" for name, module in uw._WHERE.items()}
    assert type_checking_block() == table
    assert sorted(uw.__all__) == sorted(table)
    public = json.loads(
        subprocess.run(
            [sys.executable, "-c", "import json, unweave; print(json.dumps(dir(unweave)))"],
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    assert [name for name in public if not name.startswith("_")] == sorted(table)
    assert "__version__" in public


@pytest.mark.parametrize("name", sorted(uw._WHERE))
def test_every_public_name_is_the_one_of_its_module(name):
    where = uw._WHERE[name]
    value = getattr(uw, name)
    assert value is (
        getattr(importlib.import_module(where), name) if where else importlib.import_module(f"unweave.{name}")
    )


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="unweave has no 'load_modle'; nearest: load_model"):
        uw.load_modle  # noqa: B018
    with pytest.raises(AttributeError, match=r"unweave has no 'zzzzzz'$"):
        uw.zzzzzz  # noqa: B018
    assert not hasattr(uw, "__wrapped__")
