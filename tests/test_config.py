"""Configurations: the same from TOML and JSON, closed, frozen, and inert when made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import samples
from unweave.config import config_from, config_json, read_config, read_mapping
from unweave.errors import InputError, UnknownName

CONFIGS = {kind.__name__: kind for kind in samples.configs()}


def toml_of(values: dict[str, Any]) -> str:
    """TOML text of plain values; tables are written inline."""
    return "".join(f"{json.dumps(key)} = {toml_value(value)}\n" for key, value in values.items())


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def test_every_configuration_has_sample_values() -> None:
    assert set(CONFIGS) == set(samples.CONFIG_VALUES)


@pytest.mark.parametrize("name", CONFIGS)
def test_toml_object_json_object_is_the_same(name: str, tmp_path: Path) -> None:
    kind, values = CONFIGS[name], samples.CONFIG_VALUES[name]
    toml, again = tmp_path / "config.toml", tmp_path / "config.json"
    toml.write_text(toml_of(values), encoding="utf-8")
    first = read_config(kind, toml)
    again.write_text(json.dumps(config_json(first)), encoding="utf-8")
    second = read_config(kind, again)
    assert first == second
    assert samples.same(config_json(first), config_json(second))
    assert first == config_from(kind, values, source="options")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_value_given_is_kept(name: str) -> None:
    values = samples.CONFIG_VALUES[name]
    stored = config_json(config_from(CONFIGS[name], values, source="options"))

    def kept(given: Any, found: Any) -> bool:
        if isinstance(given, dict):
            return all(kept(item, found[key]) for key, item in given.items())
        if isinstance(given, list):
            return len(given) == len(found) and all(map(kept, given, found))
        return given == found and type(given) is type(found)

    assert kept(values, stored)


@pytest.mark.parametrize("name", CONFIGS)
def test_defaults_survive_json(name: str) -> None:
    kind = CONFIGS[name]
    needed = {key: samples.CONFIG_VALUES[name][key] for key, field in kind.model_fields.items() if field.is_required()}
    config = config_from(kind, needed, source="options")
    assert config_from(kind, json.loads(json.dumps(config_json(config))), source="json") == config


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_keys_are_refused_with_the_nearest(name: str) -> None:
    kind, values = CONFIGS[name], samples.CONFIG_VALUES[name]
    key = max(kind.model_fields, key=len)
    wrong = key + key[-1]
    with pytest.raises(UnknownName, match=rf"^my\.toml: unknown key '{wrong}' \(nearest: '{key}'") as caught:
        config_from(kind, {**values, wrong: 1}, source="my.toml")
    assert caught.value.suggestions[0] == key


@pytest.mark.parametrize(
    "name", [name for name, kind in CONFIGS.items() if "seed" in kind.model_fields and name != "Figure"]
)
def test_a_negative_seed_is_refused(name: str) -> None:
    """Random generators take none, and say so in words of their own. (A figure only tells the seed of its numbers.)"""
    with pytest.raises(InputError, match="seed: input should be greater than or equal to 0, got -1"):
        config_from(CONFIGS[name], {**samples.CONFIG_VALUES[name], "seed": -1}, source="options")


def test_an_unknown_key_in_a_nested_table_is_answered_from_that_table() -> None:
    values = samples.CONFIG_VALUES["Manifest"]
    shard = {**values["shards"][0], "indexx": 3}
    wrong = {**values, "collection": {**values["collection"], "kindd": "text"}, "shards": [values["shards"][0], shard]}
    with pytest.raises(UnknownName) as caught:
        config_from(CONFIGS["Manifest"], wrong, source="store.json")
    assert str(caught.value) == (
        "store.json: unknown key 'collection.kindd' (nearest: 'kind'); unknown key 'shards.1.indexx' (nearest: 'index')"
    )
    assert caught.value.suggestions == ("kind", "index")


def test_a_key_like_no_other_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown key 'zzz' \(valid: title, columns, rows, note\)"):
        config_from(CONFIGS["Table"], {**samples.TABLE, "zzz": 1}, source="options")


def test_all_faults_are_in_one_message() -> None:
    values = {"kz": [1], "lam": -1, "test": 2, "selector": "std_mean_dif", "ks": [4, 2]}
    with pytest.raises(UnknownName) as caught:
        config_from(CONFIGS["ProbeConfig"], values, source="options")
    text = str(caught.value)
    assert text.startswith("options: unknown key 'kz' (nearest: 'ks'); ")
    assert "ks: must be increasing numbers, at least one, got [4, 2]" in text
    assert "lam: input should be greater than 0, got -1" in text
    assert "test: input should be less than 1, got 2" in text
    assert (
        "selector: unknown selector 'std_mean_dif'; nearest: 'std_mean_diff', 'mean_diff', got 'std_mean_dif'" in text
    )


def test_missing_and_long_values_are_told_shortly() -> None:
    values = {**samples.TABLE, "note": list(range(1000))}
    del values["title"]
    with pytest.raises(InputError) as caught:
        config_from(CONFIGS["Table"], values, source="t.json")
    assert "title: a value is needed, none was given" in str(caught.value)
    assert len(str(caught.value)) < 250
    assert not isinstance(caught.value, UnknownName)


@pytest.mark.parametrize("values", [[1, 2], "ks", None, 3])
def test_what_is_no_table_is_refused(values: object) -> None:
    kind = type(values).__name__
    with pytest.raises(InputError, match=f"run.json holds a {kind}: a configuration is a table of keys and values"):
        config_from(CONFIGS["Run"], values, source="run.json")


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_are_frozen_values(name: str) -> None:
    kind, values = CONFIGS[name], samples.CONFIG_VALUES[name]
    one, two = (config_from(kind, values, source="options") for _ in range(2))
    assert one == two
    assert one is not two
    key = next(iter(kind.model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(one, key, getattr(two, key))


def test_changing_what_it_was_made_from_does_not_change_a_configuration() -> None:
    values = json.loads(json.dumps(samples.CONFIG_VALUES["Figure"]))
    config = config_from(CONFIGS["Figure"], values, source="options")
    before = config_json(config)
    values["data"]["x"].append("later")
    assert config_json(config) == before


INERT = """
import builtins, io, os, random
import numpy as np, samples, torch
from unweave.config import config_from

def refuse(*args, **kwargs):
    raise RuntimeError(f"opened {args[0]!r}")

def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

kinds, before = samples.configs(), states()
kept = [(module, module.open) for module in (builtins, io, os)]
for module, _ in kept:
    module.open = refuse
for kind in kinds:
    config_from(kind, samples.CONFIG_VALUES[kind.__name__], source="options")
for module, function in kept:
    module.open = function
print(len(kinds), states() == before)
"""


@pytest.mark.slow
def test_making_one_touches_no_file_and_no_generator() -> None:
    # its own interpreter: the type checks of this test run draw from Python's global generator
    command, here = [sys.executable, "-c", INERT], Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == [str(len(CONFIGS)), "True"]


def test_every_field_is_documented_or_plain() -> None:
    # field docs feed --help and the reference; the study's are what users read
    for name in ("StudyConfig", "ProbeConfig"):
        assert all(field.description for field in CONFIGS[name].model_fields.values())


FILES: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("none.toml", None, r"no configuration file at .*none\.toml: give the path of a \.toml or \.json file"),
    "toml": ("a.toml", b"ks = [1,\nlam = 3", r"a\.toml cannot be parsed: .*line 2.*; correct it there"),
    "json": ("a.json", b'{"ks": [1,}', r"a\.json cannot be parsed: .*line 1 column 11.*; correct it there"),
    "empty json": ("a.json", b"", r"a\.json cannot be parsed: "),
    "latin-1": ("a.toml", "text = 'é'".encode("latin-1"), r"a\.toml is not UTF-8 at byte 8: save the configuration as"),
    "list": ("a.json", b"[1]", r"a\.json holds a list: a configuration is a table of keys and values"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_none_are_named(name: str, tmp_path: Path) -> None:
    file, content, text = FILES[name]
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_config(CONFIGS["ProbeConfig"], tmp_path / file)


def test_directories_and_paths_below_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a directory: give the path of a \.toml or \.json file"):
        read_mapping(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"below cannot be read \(Not a directory\): give a \.toml or \.json file"):
        read_mapping(tmp_path / "file" / "below")


def test_an_empty_toml_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("")
    assert read_config(CONFIGS["ProbeConfig"], tmp_path / "a.toml") == CONFIGS["ProbeConfig"]()
    assert read_config(CONFIGS["StudyConfig"], str(tmp_path / "a.toml")) == CONFIGS["StudyConfig"]()
