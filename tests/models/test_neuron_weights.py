"""Weights around neurons, in every family: a neuron's activation and output are computed from them by hand."""

import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import InputError
from unweave.models.neuron_weights import neuron_weights, written_tokens

READS = {"gpt2": "ln2", "llama": "ln2", "bert": "resid_mid"}
"""What the MLP reads."""


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_weights_reproduce_what_a_neuron_does(family):
    model = tiny.model_of(family)
    site, before = "blocks.1.mlp_act", f"blocks.1.{READS[family]}"
    found = model.capture(tiny.ids_of(), [site, before, "blocks.1.mlp_out"])
    weights = neuron_weights(model, site)
    stream = found[before]
    act = {"gpt2": lambda x: torch.nn.functional.gelu(x, approximate="tanh"), "bert": torch.nn.functional.gelu}
    if family == "llama":
        assert set(weights.reads) == {"gate", "up"}
        assert weights.biases == {}
        z = torch.nn.functional.silu(stream @ weights.reads["gate"].T) * (stream @ weights.reads["up"].T)
    else:
        z = act[family](stream @ weights.reads["in"].T + weights.biases["in"])
    torch.testing.assert_close(z, found[site], atol=1e-5, rtol=1e-4)
    if family != "bert":  # there a bias and a norm come after
        written = found[site] @ weights.writes
        bias = found["blocks.1.mlp_out"] - written
        assert float((bias - bias[0, 0]).abs().max()) < 1e-4


def test_statistics_are_of_each_neuron():
    weights = neuron_weights(tiny.model_of("gpt2"), "blocks.0.mlp_act")
    told = weights.statistics()
    read, write = weights.reads["in"][5], weights.writes[5]
    assert float(told["norm of W_in"][5]) == pytest.approx(float(read.norm()))
    assert float(told["cosine of W_in and W_out"][5]) == pytest.approx(
        float(read @ write / read.norm() / write.norm()), rel=1e-5
    )
    assert float(told["norm of W_in times b_in"][5]) == pytest.approx(
        float(read.norm() * weights.biases["in"][5]), rel=1e-5
    )
    assert all(len(values) == len(weights.writes) for values in told.values())


def test_tokens_that_a_neuron_raises_are_those_of_its_logits():
    model = tiny.text_model("llama")
    write = neuron_weights(model, "blocks.1.mlp_act").writes[3]
    effects = model.module.lm_head.weight.detach() @ write
    found = written_tokens(model, write, most=4)
    assert [value for _, value in found[:4]] == pytest.approx(effects.sort(descending=True).values[:4].tolist())
    assert [value for _, value in found[4:]] == pytest.approx(effects.sort(descending=True).values[-4:].tolist())
    assert "\ufffd" not in "".join(token for token, _ in found)
    assert written_tokens(tiny.model_of("bert"), torch.ones(32)) == ()


def test_units_without_weights_of_their_own_are_refused():
    model = tiny.model_of("llama")
    for site in ("blocks.0.resid_post", "embed"):
        with pytest.raises(InputError, match="has no weights of single units"):
            neuron_weights(model, site)
    with pytest.raises(InputError, match=r"is outside the model: it has blocks 0\.\.1"):
        neuron_weights(model, "blocks.7.mlp_act")
    plain = uw.load_model(torch.nn.Sequential(torch.nn.Linear(3, 5)))
    with pytest.raises(InputError, match="has no weights of single units"):
        neuron_weights(plain, "0")
