"""Chains of sections: from models of every family, modules, weights and checkpoints; each is the model."""

import itertools

import pytest
import torch
from torch import nn

import tiny
import unweave as uw
from interaction.nets import draw
from unweave.errors import InputError, UnknownName, UnweaveError
from unweave.interaction.builders import chain, mlp, modadd
from unweave.interaction.fit import fit
from unweave.models.modadd import ModularAddition, modadd_from, modadd_pairs, modadd_targets
from unweave.models.zoo.modules import fast_logits


@pytest.fixture(scope="module")
def adder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModularAddition(modulus=7, width=8, heads=2, head_width=4, neurons=16)


def test_modular_addition_is_the_module(adder):
    tokens = modadd_pairs(7)[0]
    for section in modadd(adder.state_dict()):
        assert section.check(tokens) < 1e-12
    x = modadd(adder)[0].inputs(tokens)[0]
    for section in modadd(adder):
        x = section(x, None)
    assert torch.allclose(x[:, 0].float(), adder(tokens), atol=1e-5)
    assert torch.allclose(fast_logits(adder, tokens), adder(tokens), atol=1e-5)


def test_pairs_are_all_sums_in_the_order_of_the_reference():
    training, test = modadd_pairs(113)
    assert (len(training), len(test)) == (3830, 8939)
    both = torch.cat([training, test])
    assert len((both[:, 0] * 113 + both[:, 1]).unique()) == 113**2
    split = torch.utils.data.random_split(range(12769), [3830, 8939], torch.Generator().manual_seed(0))
    assert [divmod(number, 113) for number in split[0]] == [tuple(row[:2]) for row in training.tolist()]
    assert modadd_targets(torch.tensor([[100, 20, 113]])).tolist() == [7]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_transformers_have_coarse_and_fine_chains(name):
    model, tokens = tiny.model_of(name), tiny.ids_of(2, 5)
    for granularity in ("coarse", "fine"):
        sections = chain(model, granularity=granularity, probe=tokens)
        assert sections[0].site_in == ("blocks.0.resid_pre",)
        assert all(a.site_out == b.site_in for a, b in itertools.pairwise(sections))


def test_a_language_model_is_fitted_from_tokens():
    model = uw.load_model("zoo:docs")
    tokens = torch.randint(3, 2000, (6, 8), generator=torch.Generator().manual_seed(0))
    sections = chain(model, ["blocks.5.resid_mid", "blocks.5.resid_post", "final_norm"])
    found = fit(sections, tokens, sources=(None, 2), edges="none", batch=3)
    assert found.lambdas["blocks.5.resid_mid"].shape[0] <= 47  # 48 centred rows
    assert found.inputs == 6


def test_plain_modules_get_closed_forms_where_they_have_them():
    net = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 4), nn.Softmax(dim=-1), nn.Linear(4, 2))
    sections = chain(net, ["0:in", "1", "3", "4"], probe=torch.randn(4, 3))
    assert [section.kind for section in sections] == ["mlp", "generic", "linear"]
    found = fit(sections, torch.randn(40, 3))
    assert found.edges["1", "3"].shape[1] == len(found.lambdas["1"])


def test_images_have_spatial_positions():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    sections = chain(net, ["0:in", "1", "2"])
    found = fit(sections, torch.randn(5, 2, 4, 4), sources=(1, None), matmul="float64")
    assert found.edges["0:in", "1"].shape == (len(found.lambdas["1"]), 2)


def test_weights_of_any_spelling_make_a_perceptron():
    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    state = {
        "layers.0.W": first.weight.T,
        "layers.0.b": first.bias,
        "layers.1.W": last.weight.T,
        "layers.1.b": last.bias,
    }
    x = draw(6, 3)
    for layers in ([first, last], state, [(first.weight.T, first.bias), (last.weight.T, last.bias)]):
        sections = mlp(layers)
        y = sections[1](sections[0](sections[0].inputs(x)[0], None), None)[:, 0]
        assert torch.allclose(y.float(), last(torch.relu(first(x.float()))), atol=1e-6)


def test_what_is_wrong_is_said():
    with pytest.raises(InputError, match="1 node layers: a chain needs at least two"):
        chain(nn.Sequential(nn.Linear(2, 2)), ["0"])
    with pytest.raises(InputError, match="a plain module does not say"):
        chain(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UnknownName, match="unknown granularity 'corse'; nearest: 'coarse'"):
        chain(nn.Sequential(nn.Linear(2, 2)), granularity="corse")
    with pytest.raises(InputError, match="no layers: give at least one pair"):
        mlp([])
    with pytest.raises(InputError, match="a layer gives width 3 but the next takes 4"):
        mlp([(draw(2, 3), draw(3)), (draw(4, 2), draw(2))])
    with pytest.raises(InputError, match=r"the state dict has no 'layers\.0\.b'"):
        mlp({"layers.0.W": draw(2, 3)})
    with pytest.raises(InputError, match="a Linear is not a modular-addition transformer"):
        modadd(nn.Linear(2, 2))


def test_a_strange_checkpoint_is_told_by_what_it_lacks(adder):
    weights = adder.state_dict()
    with pytest.raises(InputError, match=r"1 tensors are missing.*unembed.b_U"):
        modadd_from({name: value for name, value in weights.items() if name != "unembed.b_U"})
    with pytest.raises(InputError, match=r"do not fit one another: blocks.0.mlp.b_in \(3,\) for \(16,\)"):
        modadd_from({**weights, "blocks.0.mlp.b_in": torch.zeros(3)})


def test_a_section_that_is_not_the_model_is_caught(adder):
    from dataclasses import replace

    section = modadd(adder)[1]
    wrong = replace(section, function=lambda x, _context: section.form.forward(x) + 1)
    with pytest.raises(UnweaveError, match="misses something"):
        wrong.check(modadd_pairs(7)[0])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_transformers_get_closed_forms_of_mlp_norm_and_head(name):
    model, tokens = tiny.model_of(name), tiny.ids_of(4, 6)
    layers = ["blocks.0.resid_pre", "blocks.0.resid_mid", "blocks.0.resid_post", "blocks.1.resid_mid"]
    kinds = [one.kind for one in chain(model, layers, probe=tokens)]
    assert [kinds[1], kinds[0] != "mlp", kinds[2] != "mlp"] == ["mlp", True, True]
    last = chain(model, ["blocks.1.resid_mid", "blocks.1.resid_post", "final_norm", "logits"], probe=tokens)
    assert [one.kind for one in last] == ["mlp", "norm", "linear"]
    closed = fit(last, tokens, matmul="float64")
    from dataclasses import replace

    slow = fit([replace(one, form=None) for one in last], tokens)
    for layer in closed.layers[:-1]:
        top = 5
        assert torch.allclose(closed.lambdas[layer][:top], slow.lambdas[layer][:top], rtol=1e-6)
    for pair, edges in closed.edges.items():
        size = [min(20, n) for n in edges.shape]
        assert torch.allclose(edges.diagonal()[:5], slow.edges[pair].diagonal()[:5], rtol=1e-5), (pair, size)


def test_a_norm_that_is_none_of_the_stream_has_no_variance_to_isolate():
    with pytest.raises(InputError, match=r"the norm at blocks.0.ln1 is no LayerNorm or RMSNorm of the stream"):
        chain(tiny.model_of("gemma2"), granularity="isolated")


def test_keys_out_of_a_window_are_left_to_derivatives():
    (section,) = chain(tiny.model_of("mistral"), ["blocks.0.resid_pre", "blocks.0.resid_mid"], probe=tiny.ids_of(2, 9))
    assert section.form is None


def test_the_basis_behind_attention_is_that_of_derivatives():
    model, tokens = tiny.model_of("llama"), tiny.ids_of(3, 4)
    layers = ["blocks.0.resid_pre", "blocks.0.resid_mid"]
    closed = chain(model, layers)
    from dataclasses import replace

    found = fit(closed, tokens, matmul="float64", batch=2)
    slow = fit([replace(one, form=None) for one in closed], tokens, batch=2)
    assert torch.allclose(found.lambdas[layers[0]][:5], slow.lambdas[layers[0]][:5], rtol=1e-9)
    assert torch.allclose(found.edges[layers[0], layers[1]][:, :5], slow.edges[layers[0], layers[1]][:, :5], rtol=1e-5)


def test_a_block_that_does_more_than_its_weights_say_is_left_to_derivatives():
    model = tiny.model_of("llama")
    block = model.module.model.layers[0].mlp
    block.act_fn = nn.Tanh()  # the configuration says otherwise
    (section,) = chain(model, ["blocks.0.resid_mid", "blocks.0.resid_post"], probe=tiny.ids_of(2, 4))
    assert section.form is None


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox", "neox-sequential", "opt"])
def test_every_section_of_a_transformer_has_a_closed_form(name):
    module = tiny.module_of(name)
    if name != "llama":  # whose norms compute in float32 whatever its weights are
        module = module.double()  # every section is then compared with the model to 1e-9
    model, tokens = uw.load_model(module, name=name), tiny.ids_of(2, 9)
    for granularity in ("coarse", "isolated"):
        sections = chain(model, granularity=granularity, probe=tokens)
        without = [one.name for one in sections if one.form is None]
        if granularity != "coarse":
            assert without == []
        else:  # a parallel block is one section; from stream to logits is more than a form
            assert all(name == "neox" or at.endswith("-> logits") for at in without), without


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_a_chain_with_isolated_norms_is_the_model_and_keeps_the_laws(name):
    model, tokens = tiny.model_of(name), tiny.ids_of(6, 5)
    sections = chain(model, granularity="isolated")
    x = sections[0].inputs(tokens)[0]
    for one in sections:
        x = one(x, None)
    assert torch.allclose(x.float(), model.capture(tokens, "logits")["logits"], atol=1e-4)
    found = fit(sections[-4:], tokens, matmul="float64")
    for one in sections[-4:]:
        layer = "+".join(one.site_in)
        basis, lambdas = found.bases[layer], found.lambdas[layer]
        z = (one.inputs(tokens)[0].flatten(0, 1) - basis.origin) @ basis.read
        assert torch.allclose(z.square().mean(0)[:10], lambdas[:10], rtol=1e-6)
        projector = basis.read @ basis.write
        assert torch.allclose(projector @ projector, projector, atol=1e-7)
        if one.isolated:
            assert basis.read[1:, 0].abs().max() == 0  # the variance is a direction of its own
            assert basis.read[0, 1:].abs().max() == 0
    assert sum(one.isolated for one in sections) == 5  # two norms in each of two blocks, and the last


def test_both_norms_of_a_parallel_block_are_cut():
    from dataclasses import replace

    sections = chain(tiny.model_of("neox"), granularity="isolated")
    cut = [one.site_in[0] for one in sections if one.isolated]
    norms = [f"blocks.{block}.{norm}_variance" for block in (0, 1) for norm in ("ln1", "ln2")]
    assert cut == [*norms, "final_norm_variance"]
    place = next(number for number, one in enumerate(sections) if one.site_in[0] == "blocks.1.ln2_variance")
    around, tokens = sections[place - 1 : place + 1], tiny.ids_of(8, 5)
    found = fit(around, tokens, matmul="float64")
    slow = fit([replace(one, form=None) for one in around], tokens)
    layer = found.layers[1]
    assert layer == "blocks.1.ln2_variance+blocks.1.attn_out+blocks.1.resid_pre"
    read = found.bases[layer].read
    assert read[1:, 0].abs().max() == read[0, 1:].abs().max() == 0
    for one in found.layers[:2]:
        assert torch.allclose(found.lambdas[one][:10], slow.lambdas[one][:10], rtol=1e-9)
    for pair, edges in found.edges.items():
        assert torch.allclose(edges[:10, :5], slow.edges[pair][:10, :5], rtol=1e-6, atol=1e-9 * float(edges.max()))
