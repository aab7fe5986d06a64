"""Optional parts that are absent: the command that needs one says how to get it, all others work."""

import shlex
import sys

import pytest

from unweave.cli.environment import EXTRAS

PACKAGES = ("datasets", "faiss", "s3fs", "accelerate", "transformer_lens", "nnsight", "sae_lens")
"""Of the extras, and what users may have beside us."""


@pytest.fixture
def without(monkeypatch):
    """None of them can be imported."""
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


def test_the_list_has_the_packages_of_all_extras():
    assert {name.removesuffix("-cpu") for extra in EXTRAS.values() for name in extra} <= set(PACKAGES)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("collect --model {model} --site blocks.0.mlp_act --text hub:no/such:train:text --out {out}",
         "pip install 'unweave[data]'"),
        ("collect --model {model} --site blocks.0.mlp_act --text {text} --out s3://bucket/store", "s3fs"),
    ],
)  # fmt: skip
def test_a_command_without_its_package_exits_with_the_line_that_installs_it(
    unweave, inputs, tmp_path, without, arguments, line
):
    values = {"model": inputs / "llama", "text": inputs / "text.txt", "out": tmp_path / "out"}
    done = unweave(*shlex.split(arguments.format(**values)))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert line in done.message


def test_all_others_work(unweave, inputs, tmp_path, without):
    model, store, text = str(inputs / "llama"), str(tmp_path / "store"), tmp_path / "text.txt"
    text.write_text("Nothing else is installed.\n")
    assert unweave("collect", "-m", model, "--site", "blocks.0.mlp_act", "--text", str(text), "--out", store).code == 0
    assert unweave("zoo", "list", "--json").code == 0
