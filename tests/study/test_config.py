"""The keys of a study's configuration: defaults, ranges, misspellings."""

import pytest

from unweave.config import config_from, config_json, read_config
from unweave.errors import InputError, UnknownName
from unweave.study import StudyConfig

FAULTS = {
    "ks fall": ({"ks": (4, 2)}, r"ks: must be increasing numbers, at least one, got \(4, 2\)"),
    "no ks": ({"ks": ()}, "ks: must be increasing numbers, at least one"),
    "no models": ({"models": ()}, "models: tuple should have at least 1 item"),
    "no sites": ({"sites": ()}, "sites: tuple should have at least 1 item"),
    "rows": ({"rows": 10}, "rows: input should be greater than or equal to 50, got 10"),
    "test": ({"test": 0.0}, "test: input should be greater than 0, got 0.0"),
    "dtype": ({"dtype": "float8"}, "dtype: input should be 'float16', 'bfloat16' or 'float32', got 'float8'"),
    "context": ({"context": 1}, "context: input should be greater than or equal to 2, got 1"),
}


@pytest.mark.parametrize(("values", "message"), FAULTS.values(), ids=FAULTS)
def test_bad_values_are_named(values, message):
    with pytest.raises(InputError, match=message):
        config_from(StudyConfig, values, source="options")


@pytest.mark.parametrize("key", StudyConfig.model_fields)
def test_a_misspelt_key_is_answered_with_the_right_one(key):
    for typo in (key[:-1] + key[-1] * 2, key[0] + key):
        with pytest.raises(UnknownName, match=f"unknown key '{typo}' .nearest: .*'{key}'"):
            config_from(StudyConfig, {typo: 1}, source="config.toml")


def test_a_file_says_the_same_as_the_object(tmp_path):
    config = StudyConfig(models=("zoo:docs",), ks=(1, 3), text="a.txt", test=0.25)
    file = tmp_path / "config.toml"
    file.write_text('models = ["zoo:docs"]\nks = [1, 3]\ntext = "a.txt"\ntest = 0.25\n')
    assert read_config(StudyConfig, file) == config
    assert config_from(StudyConfig, config_json(config), source="json") == config
