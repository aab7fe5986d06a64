"""Shared by all tests: threads, where real data lies, and the list of skips."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import tiny` from any test

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
"""Real checkpoints and text, where this machine has them; never part of the project."""


gc.disable()  # until everything is collected: the collector would look at a million objects that stay, again and again


def pytest_collection_finish() -> None:
    """Takes what importing and collecting left out of every later garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def data() -> Path:
    """The directory of real data; tests that use it are skipped where it is not (tests/SKIPS.md)."""
    if not DATA.is_dir():
        pytest.skip("no ../shared/data: real checkpoints and texts are not on this machine")
    return DATA


@pytest.fixture(scope="session")
def minilm():
    """The pretrained encoder from its package, skipped where that is not installed (tests/SKIPS.md)."""
    import unweave as uw
    from unweave.errors import InputError

    try:
        return uw.load_model("minilm")
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def docs():
    """The bundled language model."""
    import unweave as uw

    return uw.load_model("zoo:docs")
