"""Inputs of commands, and a command run in this process."""

import json
import sys
from dataclasses import dataclass

import pytest

from study_inputs import write_inputs
from unweave.cli.main import run


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
