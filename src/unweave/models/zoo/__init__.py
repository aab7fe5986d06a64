"""The bundled models: small, trained by this project on what every installation carries, shipped as float16."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unweave.errors import unknown_name

_HOME = Path(__file__).parent
ALIASES = MappingProxyType({"docs": "docs-s"})
"""Short name -> model."""


def names() -> list[str]:
    """The bundled models by name."""
    return sorted(path.parent.name for path in _HOME.glob("*/zoo.json"))


def folder_of(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        UnknownName: There is none of that name.
    """
    full = ALIASES.get(name, name)
    if full not in names():
        raise unknown_name("zoo model", name, [*ALIASES, *names()], hint="`unweave zoo list` shows all")
    return _HOME / full


def facts(name: str) -> dict[str, Any]:
    """What is known about a bundled model: recipe, sizes, held-out documents, losses."""
    return json.loads((folder_of(name) / "zoo.json").read_text(encoding="utf-8"))
