"""The Python of the README and of the five-minute page runs as it stands, block after block in one session each."""

from __future__ import annotations

import re

import pytest

from conftest import ROOT


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/start.md", "docs/coming-from.md"])
def test_python_of_a_page_runs(page, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(page)
    assert found
    names: dict[str, object] = {}
    for number, block in enumerate(found):
        exec(compile(block, f"{page} block {number}", "exec"), names)  # noqa: S102 - these pages are ours, and running them is the test
    assert "True" in capsys.readouterr().out or page != "README.md"


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named == {"study", "test"}
    assert named <= targets
