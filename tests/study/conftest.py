"""One finished study of a tiny model, made once and copied for each test that changes it."""

import shutil

import pytest

from listeners import Recorder
from study_inputs import SMALL, write_inputs
from unweave.study import StudyConfig, run_study


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Directory with models, a text and labels."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def config(inputs):
    """One feature at two sites: a study of half a second."""
    return StudyConfig(
        models=(str(inputs / "llama"),), text=str(inputs / "text.txt"), labels=str(inputs / "spans.jsonl"), **SMALL
    )


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    """(directory, result, listener) of a finished study; not to be changed."""
    listener = Recorder()
    folder = tmp_path_factory.mktemp("study") / "run"
    result = run_study(config, folder, command="unweave study", progress=listener)
    return folder, result, listener


@pytest.fixture(scope="session")
def of_token_strings(config, tmp_path_factory):
    """The same with the eleven features that any text has."""
    folder = tmp_path_factory.mktemp("study") / "strings"
    return folder, run_study(config.model_copy(update={"labels": None}), folder)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished study."""
    return shutil.copytree(finished[0], tmp_path / "run")
