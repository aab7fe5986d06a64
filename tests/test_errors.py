"""Errors say what was wrong, what was got and what to do, and answer a typo with the name that was meant."""

from __future__ import annotations

import copy
import importlib
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import samples
import typos
import unweave as uw
from unweave import errors
from unweave.artifact import KINDS
from unweave.config import config_from
from unweave.errors import InputError, MissingPackage, UnknownName, UnweaveError, nearest, require, unknown_name
from unweave.features.activation import KINDS as ACTIVATIONS
from unweave.features.activation import Activation
from unweave.features.featurizer import Within, as_gauge
from unweave.probing.ranking import SELECTORS, rank
from unweave.site import BLOCK_COMPONENTS, OTHER_COMPONENTS, expand_sites

SITES = [f"blocks.{layer}.{name}" for layer in range(12) for name in BLOCK_COMPONENTS] + list(OTHER_COMPONENTS)


def suggestions(call: Callable[[], object]) -> Sequence[str]:
    """What the `UnknownName` that the call raises suggests; its text must name all of that."""
    with pytest.raises(UnknownName) as caught:
        call()
    assert all(repr(name) in str(caught.value) for name in caught.value.suggestions)
    return caught.value.suggestions


def ask_for_attribute(name: str) -> Sequence[str]:
    with pytest.raises(AttributeError, match="unweave has no") as caught:
        getattr(uw, name)
    return str(caught.value).partition("nearest: ")[2].split(", ")


METRICS = ["f1", "mcc", "auc", "precision", "recall"]
X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
QUESTIONS: dict[str, tuple[Sequence[str], Callable[[str], Sequence[str]]]] = {
    "sites": (SITES, lambda name: suggestions(lambda: expand_sites(name, SITES))),
    "selectors": (list(SELECTORS), lambda name: suggestions(lambda: rank(X, Y, name))),
    "activations": (ACTIVATIONS, lambda name: suggestions(lambda: Activation(kind=name))),
    "gauges": ([one.name.lower() for one in Within], lambda name: suggestions(lambda: as_gauge(name))),
    "metrics": (METRICS, lambda name: nearest(name, METRICS)),
    "artifact kinds": (list(KINDS), lambda name: nearest(name, KINDS)),
    "public names": (uw.__all__, ask_for_attribute),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_typo_is_answered_with_the_name_that_was_meant(what: str) -> None:
    names, answer = QUESTIONS[what]
    assert typos.share_answered(names, answer) >= 0.95


def test_a_typo_in_a_configuration_key_is_answered() -> None:
    owners = {f"{kind.__name__}.{key}": kind for kind in samples.configs() for key in kind.model_fields}

    rng = random.Random(1)
    hits = 0
    for name in rng.choices(sorted(owners), k=200):
        owner, key = owners[name], name.partition(".")[2]
        wrong = typos.typo(key, rng, taken=list(owner.model_fields))
        hits += key in suggestions(lambda owner=owner, wrong=wrong: config_from(owner, {wrong: 1}, source="options"))
    assert hits / 200 >= 0.95


def test_a_name_is_nearest_to_itself() -> None:
    for name in SITES:
        assert nearest(name, SITES)[0] == name


def test_nearest_knows_no_case_and_no_order_of_the_names() -> None:
    assert nearest("RESID_POST", ["resid_pre", "resid_post"])[0] == "resid_post"
    assert nearest("resid", ["resid_pre", "resid_mid"]) == nearest("resid", ["resid_mid", "resid_pre", "resid_pre"])


@pytest.mark.parametrize(
    ("name", "valid", "count", "expected"),
    [
        ("x", [], 3, []),
        ("", ["a"], 3, []),
        ("qqqq", ["alpha", "beta"], 3, []),
        ("aab", ["aab", "aac", "aad", "aae"], 2, ["aab", "aac"]),
    ],
)
def test_nearest_names_only_what_is_alike(name: str, valid: list[str], count: int, expected: list[str]) -> None:
    assert nearest(name, valid, count=count) == expected


def test_an_unknown_name_is_told_in_three_parts() -> None:
    error = unknown_name("selector", "mean_dif", ["mean_diff", "random"], hint="uw.probing lists all")
    assert str(error) == "unknown selector 'mean_dif'; nearest: 'mean_diff'; uw.probing lists all"
    assert error.suggestions == ("mean_diff",)
    far = unknown_name("selector", "qqq", [f"name{number}" for number in range(20)])
    assert str(far).startswith("unknown selector 'qqq'; valid: 'name0', 'name1', ")
    assert str(far).endswith("'name11' ...")
    assert str(unknown_name("selector", "qqq", [])) == "unknown selector 'qqq'"
    assert str(unknown_name("site", "q", ["a"], near=["b"])) == "unknown site 'q'; nearest: 'b'"


def test_an_unknown_name_is_copied_with_its_suggestions() -> None:
    error = unknown_name("site", "blocks.0.mlp_ac", ["blocks.0.mlp_act"])
    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert str(twin) == str(error)
        assert twin.suggestions == error.suggestions


TREE = {
    "InputError": (UnweaveError, ValueError),
    "UnknownName": (InputError, ValueError),
    "DataError": (InputError, ValueError),
    "StoreError": (UnweaveError,),
    "FingerprintError": (UnweaveError,),
    "MissingPackage": (UnweaveError, ImportError),
    "Interrupted": (UnweaveError,),
}


@pytest.mark.parametrize("name", TREE)
def test_every_error_is_one_of_ours_and_prints_its_text(name: str) -> None:
    kind = getattr(errors, name)
    assert all(issubclass(kind, parent) for parent in TREE[name])
    assert str(kind("what was wrong")) == "what was wrong"


def test_the_tree_is_complete() -> None:
    found = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, UnweaveError)}
    assert found == {*TREE, "UnweaveError"}


def test_a_package_that_is_there_is_imported() -> None:
    assert require("json", package="json") is importlib.import_module("json")


@pytest.mark.parametrize(
    ("extra", "line"), [(None, "pip install nothing-here"), ("ray", r"pip install 'unweave\[ray\]'")]
)
def test_a_missing_package_names_the_line_that_installs_it(extra: str | None, line: str) -> None:
    with pytest.raises(MissingPackage, match=rf"no_such_module is needed here but cannot be imported \(.*\): {line}$"):
        require("no_such_module", package="nothing-here", extra=extra)
