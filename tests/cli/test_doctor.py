"""`unweave doctor`: what it says of the installation and of models, as text and as JSON."""

from __future__ import annotations

import platform

import pytest
import torch
import transformers

import tiny
from unweave.cli import environment
from unweave.version import __version__


@pytest.fixture(scope="module")
def phi(tmp_path_factory):
    """The folder of a model whose family has no row."""
    folder = tmp_path_factory.mktemp("phi") / "phi"
    config = transformers.PhiConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4
    )
    transformers.PhiForCausalLM(config).save_pretrained(folder)
    return folder


def test_the_installation_as_json(unweave):
    found = unweave("doctor", "--json").document
    assert (found["unweave"], found["python"]) == (__version__, platform.python_version())
    assert found["versions"]["torch"] == torch.__version__
    assert found["devices"][0] == "cpu"
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert set(found["extras"]) == {"data", "ann"}
    assert all(isinstance(cache["bytes"], int) for cache in found["caches"].values())
    assert "model" not in found


def test_the_installation_for_a_person(unweave):
    done = unweave("doctor")
    assert (done.code, done.err) == (0, "")
    for word in (f"unweave {__version__}", "versions", "devices", "threads", "extra", "cache", "problem"):
        assert word in done.out


def test_a_model_with_its_sites_and_laws(unweave):
    found = unweave("doctor", "--model", "zoo:docs", "--json").document["model"]
    assert found["sites"][0] == {
        "site": "embed", "meaning": "token embedding", "shape": ["batch", "pos", 192], "dtype": "float32",
    }  # fmt: skip
    assert len(found["sites"]) == 3 + 6 * 9
    assert [(law["law"], law["holds"]) for law in found["laws"]] == [(1, True), (2, True), (3, True), (4, True)]
    assert (found["family"][0], found["healthy"], found["proposal"]) == ("llama", True, None)
    text = unweave("doctor", "--model", "zoo:docs", "--dtype", "bfloat16").out
    assert "blocks.5.attn_z          (batch, pos, 6, 32)  bfloat16  weighted values of each head" in text
    assert text.count("holds: ") == 4


def test_an_unknown_family_is_answered_with_a_row_to_paste(unweave, phi):
    done = unweave("doctor", "--model", phi)
    assert done.code == 0
    assert "# no row serves 'phi'" in done.out
    assert 'attention_matrix="self_attn.dense"' in done.out
    found = unweave("doctor", "--model", phi, "--json").document["model"]
    assert (found["family"], found["laws"]) == (None, [])
    assert found["proposal"].startswith("# no row serves 'phi'")


def test_a_model_that_breaks_a_law_is_told_with_exit_code_2(unweave, monkeypatch):
    from dataclasses import replace

    wrong = tiny.model_of("gemma2")
    row = replace(wrong.family, components={**wrong.family.components, "attn_out": "self_attn"})
    monkeypatch.setattr("unweave.models.loading.load_model", lambda *_args, **_options: replace(wrong, family=row))
    done = unweave("doctor", "--model", "anything")
    assert done.code == 2
    assert "law 1  DOES NOT HOLD" in done.out
    assert "is not healthy: law 1 (the stream is the sum of its parts" in done.message


def test_an_unknown_model_is_one_line(unweave):
    done = unweave("doctor", "--model", "zoo:dcos")
    assert (done.code, done.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("torch_version", "vision", "is_fine"),
    [
        ("2.13.0", None, True),
        ("2.13.0", "0.28.0", True),
        ("2.13.0+cpu", "0.28.0+cpu", True),
        ("2.13.0+cpu", "0.28.0", False),  # the default wheel beside a torch for the CPU
        ("2.13.0", "0.27.1", False),
        ("2.14.1", "0.29.0", True),
    ],
)
def test_a_torchvision_of_another_torch_is_a_problem(torch_version, vision, is_fine):
    problem = environment.torchvision_problem(torch_version, vision)
    assert (problem is None) == is_fine
    if problem is not None:
        assert f"torchvision {vision} does not match torch {torch_version}" in problem
        assert "pip uninstall torchvision" in problem


def test_problems_of_packages_beside_us(monkeypatch):
    there = {
        "torch": "2.13.0",
        "transformer-lens": "4.3.0",
        "sae-lens": "6.54.12",
        "nnterp": "1.3.0",
        "nnsight": "0.8.1",
    }
    monkeypatch.setattr(environment, "version_of", there.get)
    found = " | ".join(environment.problems())
    assert "sae-lens 6.54.12 needs transformer-lens below 4, 4.3.0 is installed" in found
    assert "nnterp 1.3.0 does not import with nnsight 0.8.1" in found
    monkeypatch.setattr(environment, "version_of", {"datasets": "4.0"}.get)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _name: None)
    assert environment.problems() == [
        "datasets is listed as installed but has no module datasets: pip install --force-reinstall"
    ]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"12345")
    assert environment.caches()["unweave"] == {"path": str(tmp_path), "bytes": 5}
    monkeypatch.delenv("UNWEAVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.setattr(environment.sys, "platform", "linux")
    assert environment.own_cache() == tmp_path / "x" / "unweave"
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    assert environment.own_cache().parts[-3:] == ("Library", "Caches", "unweave")
