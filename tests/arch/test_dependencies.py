"""What comes along when unweave is installed: nothing under the GPL, nothing that brings torchvision."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from unweave.cli.environment import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
USED = ("data", "ann")
"""Extras of users; `dev` and `docs` are ours."""
NEVER = {"torchvision", "igraph", "python-igraph", "leidenalg", "abess", "timm", "overcomplete"}


def closure() -> Iterator[tuple[str, metadata.Distribution | None]]:
    """Name and what is installed of it, for everything that core and extras need here."""
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(one for name in USED for one in optional[name])]
    waiting = [Requirement(line) for line in lines]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = wanted.name.lower().replace("_", "-")
        extras = wanted.extras or {""}
        if name in seen or not any(wanted.marker is None or wanted.marker.evaluate({"extra": one}) for one in extras):
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            yield name, None  # an extra that is not installed here
            continue
        yield name, found
        for line in found.requires or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": one}) for one in extras):
                waiting.append(inner)


def licence(found: metadata.Distribution) -> str:
    facts = found.metadata
    short = [line for line in (facts.get("License-Expression"), facts.get("License")) if line and len(line) < 100]
    return " ".join([*short, *(one for one in facts.get_all("Classifier") or () if one.startswith("License"))])


def test_nothing_comes_along_that_must_not():
    found = dict(closure())
    assert len(found) > 30
    assert not set(found) & NEVER
    ours = {name: licence(one) for name, one in found.items() if one is not None}
    copyleft = {name: text for name, text in ours.items() if re.search(r"(?<![L])GPL|GNU General Public", text)}
    assert not copyleft
    assert sum(bool(text) for text in ours.values()) > 0.9 * len(ours)  # nearly all of them say what they are under


def test_extras_that_doctor_tells_of_are_those_that_can_be_installed():
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    for extra, packages in EXTRAS.items():
        assert [Requirement(line).name for line in PROJECT["optional-dependencies"][extra]] == list(packages)
