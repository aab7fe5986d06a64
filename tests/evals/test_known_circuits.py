"""Circuits with a published mechanism: the published part is supported, decoys beside it are not, and other models are
refused by name.
"""

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import InputError
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.suites.circuits import frequency_blocks
from unweave.evals.suites.known_circuits import _strings, against_others
from unweave.evals.suites.running import run_suite
from unweave.models.plain_transformer import plain_transformer


def verdicts(found):
    return {one.about.split(",")[0]: (one.expected, one.finding.supported) for one in found.claims}


def test_induction_heads_and_the_path_that_tells_them_where_to_look(data):
    model = uw.load_model(data / "models/progress_measures/induction_2L_infinite.safetensors")
    found = run_suite(model, None, "induction", count=12)
    assert found.as_expected() == (10, 10)
    rows = {row["head"]: row for row in found.tables["where heads look"]}
    assert max(rows, key=lambda head: rows[head]["one back"]) == "0.2"
    assert sorted(rows, key=lambda head: -rows[head]["what followed before"])[:3] == ["1.2", "1.3", "1.1"]


def test_each_failure_of_brackets_is_reported_by_its_head(data):
    model = uw.load_model(data / "models/algorithmic/brackets.safetensors")
    found = run_suite(model, None, "brackets", count=12)
    assert found.as_expected() == (4, 4)
    with pytest.raises(InputError, match="2 blocks, not of brackets"):
        run_suite(model, None, "induction", count=4)


def test_the_published_sum_is_carried_by_its_five_frequencies(data):
    model = uw.load_model(data / "models/progress_measures/modadd113_weight_decay.safetensors")
    found = run_suite(model, None, "modular-addition", count=20)
    assert found.as_expected() == (2, 2)
    table = found.tables["frequencies of the unembedding"]
    assert {row["frequency"] for row in table[:5]} == {23, 6, 37, 41, 39}
    assert table[4]["share"] > 5 * table[5]["share"]


@pytest.mark.slow
def test_cycles_of_letters_are_copied_by_heads_of_block_one(data):
    model = uw.load_model(data / "ndm/copy_transformer/copy_transformer.pt")
    basis = uw.AffineFeaturizer(read=torch.eye(64).double(), site="blocks.0.resid", blocks=(32, 32))
    found = run_suite(model, basis, "copying", count=6)
    assert found.as_expected() == (0, 0)  # nothing is published of its heads
    assert len(found.claims) == 8 + 3 * 8 + 4


def test_key_frequencies_of_the_bundled_model():
    found = run_suite(uw.load_model("zoo:modadd"), None, "modular-addition", count=20)
    assert found.as_expected() == (2, 2)
    weights = uw.load_model("zoo:modadd").module.unembed.W_U.detach()
    strong, weak = (frequency_blocks(weights, 113, 4, site="s", weakest=kind).read for kind in (False, True))
    assert float((strong.T @ weak).abs().max()) < 1e-10


def test_a_model_that_cannot_do_it_says_so():
    weights = {
        "embed.W_E": torch.randn(30, 8), "pos_embed.W_pos": torch.randn(40, 8), "unembed.W_U": torch.randn(8, 30),
        **{f"blocks.{layer}.attn.W_{name}": torch.randn(*((2, 4, 8) if name == "O" else (2, 8, 4)))
           for layer in (0, 1) for name in "QKVO"},
    }  # fmt: skip
    model = uw.load_model(plain_transformer(weights), name="random")
    for suite in ("induction", "copying"):
        found = run_suite(model, None, suite, count=4)
        assert not found.tested
        assert "does not do this task (0% of the inputs)" in found.notes()[0]
    with pytest.raises(InputError, match="models that add modulo p"):
        run_suite(tiny.model_of("gpt2"), None, "modular-addition", count=4)


def test_a_head_is_compared_with_the_strongest_other():
    rng = np.random.default_rng(0)
    effects = np.stack([rng.normal(1.0, 0.1, 30), rng.normal(0.2, 0.1, 30), rng.normal(0.9, 0.1, 30)])
    measure = logit_difference([0], [1])
    best = against_others("t", "f", effects, 0, measure, seed=0)
    assert (best.details["strongest other"], best.supported) == (2, True)
    assert best.difference.value == pytest.approx(effects[0].mean() - effects[2].mean())
    assert [against_others("t", "f", effects, one, measure, seed=0).verdict.value for one in (1, 2)] == ["refuted"] * 2
    with pytest.raises(InputError, match="one head"):
        against_others("t", "f", effects[:1], 0, measure, seed=0)


@pytest.mark.parametrize(("total", "from_right"), [(0, True), (0, False), (None, True)])
def test_strings_fail_in_the_way_that_is_asked_for(total, from_right):
    for row in _strings(np.random.default_rng(0), 20, total=total, from_right=from_right):
        signs = np.where(row[1:-1].numpy() == 3, 1, -1)
        assert (signs.sum() == 0) == (total == 0)
        assert (np.cumsum(-signs[::-1]).min() >= 0) == from_right
