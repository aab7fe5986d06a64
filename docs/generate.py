"""Writes the pages that are made from the code: command line, configurations, symbols, the index of errors.

python docs/generate.py            # write them
python docs/generate.py --check    # exit 1 if a committed page is stale; part of `make lint`
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "unweave"
COMMANDS = (
    (),
    ("study",),
    ("collect",),
    ("directions",),
    ("report",),
    ("probe",),
    ("probe", "sweep"),
    ("probe", "haystack"),
    ("lib",),
    ("lib", "fit"),
    ("lib", "compare"),
    ("lib", "modadd"),
    ("ndm",),
    ("ndm", "fit"),
    ("ndm", "toy"),
    ("evaluate",),
    ("evaluate", "run"),
    ("evaluate", "suites"),
    ("evaluate", "planted"),
    ("compare",),
    ("superpose",),
    ("superpose", "text"),
    ("superpose", "synthetic"),
    ("superpose", "explain"),
    ("zoo",),
    ("zoo", "list"),
    ("zoo", "train"),
    ("doctor",),
)
CONFIGS = (
    ("unweave.study.config", "StudyConfig", "`unweave study config.toml`"),
    ("unweave.study.haystack.config", "HaystackConfig", "`unweave probe haystack`"),
    ("unweave.activations.haystack.inputs", "HaystackInputs", "key `inputs` of `HaystackConfig`"),
    ("unweave.probing.config", "ProbeConfig", "keyword arguments of `uw.probing.sweep` and `sweep_many`"),
    ("unweave.probing.evidence", "EvidenceConfig", "`options` of `uw.probing.evidence`"),
    ("unweave.directions.das", "DASConfig", "keyword arguments of `uw.directions.das` and `boundless_das`"),
    ("unweave.interaction.config", "BasisConfig", "keyword arguments of `uw.interaction.fit`: what the basis is"),
    ("unweave.interaction.config", "ComputeConfig", "keyword arguments of `uw.interaction.fit`: how it is computed"),
    ("unweave.ndm.config", "NDMConfig", "keyword arguments of `uw.ndm.fit`"),
    ("unweave.ndm.config", "RowOptions", "keyword arguments of `uw.ndm.fit`, key `rows` of `NDMConfig`"),
    ("unweave.ndm.config", "SearchConfig", "keyword arguments of `uw.ndm.fit`, key `search` of `NDMConfig`"),
    ("unweave.ndm.config", "MergeConfig", "keyword arguments of `uw.ndm.fit` (`merge_...`, `mi_...`)"),
    ("unweave.superposition.config", "BagsConfig", "keyword arguments of `uw.superposition.bags`"),
    ("unweave.superposition.config", "TrainConfig", "keyword arguments of `uw.superposition.train`"),
    ("unweave.superposition.config", "SmallConfig", "keyword arguments of `uw.superposition.train_small`"),
    ("unweave.study.superposition.config", "TextLabConfig", "options of `unweave superpose text`"),
    ("unweave.study.superposition.worlds", "WorldLabConfig", "options of `unweave superpose synthetic`"),
    ("unweave.activations.collect", "CollectOptions", "keyword arguments of `uw.collect`"),
)
PACKAGES = ("probing", "ndm", "interaction", "superposition", "directions", "features", "evals")
ERRORS = (
    "UnweaveError",
    "InputError",
    "UnknownName",
    "DataError",
    "StoreError",
    "FingerprintError",
    "MissingPackage",
    "Interrupted",
)


def main() -> int:
    """Write the generated pages, or with --check say which are not as they would be written."""
    pages = {
        "cli.md": command_line(),
        "config.md": configurations(),
        "symbols.md": symbols(),
        "errors/index.md": error_index(),
        "llms.txt": plain_index(),
    }
    stale = [name for name, text in pages.items() if not same(DOCS / name, text)]
    if "--check" in sys.argv:
        if stale:
            sys.stderr.write(f"stale: {', '.join(stale)}; run `python docs/generate.py`\n")
        return 1 if stale else 0
    for name, text in pages.items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


def same(path: Path, text: str) -> bool:
    """Whether the file holds this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


def command_line() -> str:
    """The help of every command, as a terminal of 100 columns shows it."""
    parts = ["# Command line\n", "Made by `docs/generate.py` from the commands themselves.\n"]
    os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", NO_COLOR="1")  # before Typer reads them
    from unweave.cli.main import run

    for command in COMMANDS:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            run([*command, "--help"])
        text = shown.getvalue()
        plain = "\n".join(line.rstrip() for line in text.strip().splitlines())
        parts.append(f"## {' '.join(('unweave', *command))}\n\n```text\n{plain}\n```\n")
    return "\n".join(parts)


def configurations() -> str:
    """A table of every configuration: key, type, default, meaning."""
    import importlib

    parts = [
        "# Configurations\n",
        "Made by `docs/generate.py`. Unknown keys are refused, with the nearest valid one.\n",
    ]
    for module, name, used in CONFIGS:
        kind = getattr(importlib.import_module(module), name)
        parts.append(f"## {name}\n\n{kind.__doc__}\n\nUsed by {used}.\n")
        rows = ["| key | default | meaning |", "|---|---|---|"]
        for key, field in kind.model_fields.items():
            rows.append(f"| `{key}` | `{field.default!r}` | {field.description or ''} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def symbols() -> str:
    """All symbols tables of the code on one page, each row with the file and line where its name stands."""
    rows = ["| code | paper | shape | meaning, unit | source | file |", "|---|---|---|---|---|---|"]
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        head = ast.get_docstring(ast.parse(text)) or ""
        if "| code | paper |" not in head:
            continue
        lines = text.splitlines()
        first = next(number for number, line in enumerate(lines, 1) if number > 1 and line.rstrip().startswith('"""'))
        table = head[head.index("| code | paper |") :].splitlines()[2:]
        for row in table:
            if not row.startswith("|"):
                break
            name = re.search(r"`(\w+)", row)
            uses = (n for n, line in enumerate(lines, 1) if n > first and re.search(rf"\b{name[1]}\b", line))
            place = next(uses, None)
            if place is None:
                raise SystemExit(f"{path}: {name[1]} stands in the symbols table but not in the code")
            where = path.relative_to(SOURCE.parent).as_posix()
            rows.append(f"{row.rstrip().rstrip('|').rstrip()} | `{where}` {place} |")
    intro = (
        "Made by `docs/generate.py` from the tables at the head of each file with a formula. The same letter in two"
        " papers has two rows; row vectors throughout (`z = h @ R`)."
    )
    return f"# Symbols\n\n{intro}\n\n" + "\n".join(rows) + "\n"


def error_index() -> str:
    """One line an error class, with its page."""
    from unweave import errors

    rows = ["| error | exit code | what it says |", "|---|---|---|"]
    for name in ERRORS:
        first = (getattr(errors, name).__doc__ or "").splitlines()[0]
        rows.append(f"| [{name}]({name}.md) | {130 if name == 'Interrupted' else 2} | {first} |")
    intro = (
        "Every error has one line in three parts: what was wrong, what was got, what to do. The command line prints"
        " that line and nothing else; `--debug` adds the traceback. Anything that is none of these is a bug of ours"
        " (exit code 1)."
    )
    return f"# Errors\n\n{intro}\n\n" + "\n".join(rows) + "\n"


def plain_index() -> str:
    """The pages and the public names in plain text, a line each: what a language model should read first."""
    import importlib

    intro = (DOCS / "index.md").read_text(encoding="utf-8").split("\n\n")[1]
    parts = [
        "# unweave\n",
        f"> {intro}\n",
        "`import unweave as uw`; every name below is imported when it is first used.\n",
    ]
    parts.append("## Pages\n")
    nav = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1].split("not_in_nav")[0]
    for page in re.findall(r"[\w/-]+\.md", nav):
        title = (DOCS / page).read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        parts.append(f"- [{title}]({page})")
    parts.append("\n## Names\n")
    for path in re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE):
        module, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        told = (value.__doc__ or "").strip().split("\n\n")[0]
        parts.append(f"- `{_public(path, value)}`: {' '.join(told.split())}")
    return "\n".join(parts) + "\n"


def _public(path: str, value: object) -> str:
    """The shortest name that `import unweave as uw` gives, or the path to import it from."""
    import unweave

    name = path.rpartition(".")[2]
    own = path.split(".")[1]
    for place in ("", own, *PACKAGES):
        if getattr(getattr(unweave, place, None) if place else unweave, name, None) is value:
            return ".".join(one for one in ("uw", place, name) if one)
    return path


if __name__ == "__main__":
    sys.exit(main())
