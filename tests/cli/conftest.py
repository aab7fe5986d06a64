"""Inputs of commands, and a command run in this process."""

import json
import sys
from dataclasses import dataclass

import pytest

from study_inputs import write_inputs
from unweave.cli import plans as costs
from unweave.cli.main import run
from unweave.engine.rehearsal import Cost


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Directory with models, a text, labels and a configuration that makes a study short."""
    folder = write_inputs(tmp_path_factory.mktemp("inputs"))
    settings = {
        "models": [str(folder / "llama")], "text": str(folder / "text.txt"), "labels": str(folder / "spans.jsonl"),
        "context": 64, "ks": [1, 2], "shuffles": 2, "bootstrap": 200, "rows": 300, "ablation": {"windows": 4},
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(settings))
    return folder


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The one JSON document on standard output."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def message(self):
        """The last line on standard error."""
        return self.err.rstrip("\n").split("\n")[-1]


@pytest.fixture
def told_plans(monkeypatch):
    """Plans that cost nothing to make."""
    cost = Cost(rows=100, disk_bytes=20_000, peak_bytes=1, seconds=1.0)
    for name in ("sweep", "partition", "basis", "contest", "text_lab", "world_lab"):
        monkeypatch.setattr(costs, f"{name}_cost", lambda *_given, **_options: cost)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["told", "rehearsed"])
def plans(request):
    """What a command would cost: told at once, and in the slow tests rehearsed as for users."""
    if not request.param:
        request.getfixturevalue("told_plans")


@pytest.fixture
def unweave(capsys, monkeypatch):
    """Runs a command line in this process."""

    def call(*arguments):
        capsys.readouterr()
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["unweave", *words])
        code = run(words)
        found = capsys.readouterr()
        return Done(code, found.out, found.err)

    return call
