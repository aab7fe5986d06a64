"""`unweave ndm`: a partition of a store's site, the toy with its truth, and what is wrong in one line."""

import numpy as np
import pytest
import torch

import tiny
import unweave as uw

SITES = ["blocks.0.resid_post", "blocks.1.resid_post"]
QUICK = ("--preset", "quick", "--steps", "4", "--pool", "64", "--batch", "16", "--unit-size", "8", "-q")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two sites of a tiny model over some hundred tokens."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "the", "x1", "of", "42"], size=30)) for _ in range(16)]
    folder = tmp_path_factory.mktemp("ndm") / "store"
    return uw.collect(tiny.text_model("llama"), texts, SITES, folder, context=32, dtype="float32").path


def test_a_fit_is_printed_saved_and_goes_on_where_it_stopped(unweave, store, tmp_path):
    out = tmp_path / "partition"
    done = unweave("ndm", "fit", store, "--site", SITES[0], *QUICK, "--out", out, "--json")
    found = done.document
    assert done.code == 0
    assert sum(found["partition"]) == 32
    assert found["site"] == SITES[0]
    assert {"loss", "step"} <= set(found["history"][0])
    result, featurizer = uw.load(out / "result"), uw.load(out / "featurizer")
    assert result.partition == found["partition"]
    read = featurizer.read.double()
    assert float((read.T @ read - torch.eye(32)).abs().max()) < 1e-6
    again = unweave("ndm", "fit", store, "--site", SITES[0], *QUICK, "--out", out, "--json").document
    assert {key: again[key] for key in ("partition", "distance")} == {
        key: found[key] for key in ("partition", "distance")
    }
    shown = unweave("ndm", "fit", store, "--site", SITES[0], *QUICK)
    assert "Blocks, largest first" in shown.out


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(unweave, plans, store, tmp_path):
    done = unweave("ndm", "fit", store, "--site", SITES[1], *QUICK, "--out", tmp_path / "none", "--dry-run", "--json")
    assert done.document["width"] == 32
    assert done.document["steps"] == 4
    assert min(done.document[name] for name in ("rows", "seconds", "disk_bytes")) > 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{store}",), "has 2 sites: give --site, one of blocks.0.resid_post, blocks.1.resid_post"),
        (("{store}", "--site", "blocks.7.resid_post"), "blocks.7.resid_post"),
        (("{store}", "--site", SITES[0], "--preset", "lapto"), "lapto"),
        (("{store}", "--site", SITES[0], "--merge-thr", "some"), "--merge-thr is 'some': a number, auto or never"),
        (("{store}", "--site", SITES[0], "--unit-size", "0"), "unit_size"),
        (("{store}", "--site", SITES[0], "--memory", "lots"), "lots"),
        (("nowhere",), "no activation store at nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(unweave, store, arguments, message):
    done = unweave("ndm", "fit", *(one.format(store=store) for one in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.message
    assert done.err.count("\n") == 1


def test_groups_that_are_no_numbers_are_named(unweave):
    done = unweave("ndm", "toy", "--groups", "20;20")
    assert done.code == 2
    assert "--groups is '20;20': numbers with commas between them are needed" in done.message


@pytest.mark.slow
def test_the_toy_finds_the_groups_it_was_made_of(unweave):
    found = unweave("ndm", "toy", "--groups", "20,20", "--width", "12", "--seed", "7", "--json", "-q").document
    assert {"purity", "partition", "separable", "overlap", "cpu_seconds"} <= set(found)
    assert found["purity"] > 0.99
    assert found["partition"] == [6, 6]
    assert found["separable"] is True
