"""Closed forms equal what automatic differentiation gives, one sample and one output at a time."""

import pytest
import torch

from interaction.nets import FORMS, affine, attention, close, draw, jacobian
from unweave.errors import UnknownName
from unweave.interaction.forms import Form, sum_of_squares
from unweave.interaction.heads import moments_of
from unweave.interaction.keys import few_keys, moments_by_keys
from unweave.interaction.perceptron import Mlp


@pytest.mark.parametrize("name", FORMS)
def test_the_pulled_back_metric_is_that_of_autograd(name):
    form, x = FORMS[name], draw(12, 4, 6, seed=3)
    width = form.forward(x[:1]).shape[-1]
    root = draw(width, width)
    metric = root @ root.T
    whole = jacobian(form, x)
    expected = torch.einsum("btosd,op,btpse->de", whole, metric, whole)
    parts = [form.gather(x[:5], metric), form.gather(x[5:], metric)]
    close(sum(form.finish(parts, metric)), expected)
    close(form.finish([tuple(a + b for a, b in zip(*parts, strict=True))], metric)[0], expected)


@pytest.mark.parametrize("name", FORMS)
def test_squared_attributions_are_those_of_autograd(name):
    form, x = FORMS[name], draw(12, 4, 6, seed=3)
    width = form.forward(x[:1]).shape[-1]
    source, target = affine(6, 5), affine(width, 3, seed=5)
    z = (x - source.origin) @ source.read
    whole = torch.einsum("jd,btosd,oi->btisj", source.write, jacobian(form, x), target.read)
    expected = torch.einsum("btisj,bsj->btij", whole, z).square().sum((0, 1))
    close(form.edges(x, source, target, torch.float64), expected)
    close(form.edges(x, source, target, torch.float32), expected, 1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_folding_the_biases_changes_nothing_while_the_constant_is_one(name):
    form, x = FORMS[name], draw(5, 4, 6)
    close(form.folded(x, torch.ones(5, 4, 1, dtype=torch.float64)), form.forward(x), 1e-14)


@pytest.mark.parametrize("name", FORMS)
def test_the_derivative_along_the_constant_is_that_of_the_folded_section(name):
    form, x, origin = FORMS[name], draw(5, 4, 6), draw(6, seed=9)
    ones = torch.ones(5, 4, 1, dtype=torch.float64)
    each = []
    for place in range(4):
        where = torch.zeros(4, 1, dtype=torch.float64)
        where[place] = 1
        step = 1e-6
        ahead = form.folded(x + step * where * origin, ones + step * where)
        behind = form.folded(x - step * where * origin, ones - step * where)
        each.append((ahead - behind) / (2 * step))
    expected = torch.stack(each, 2) if form.mixes else torch.stack(each).sum(0)[:, :, None]
    close(form.along_constant(x, origin, separate=True), expected, 1e-7)  # central differences
    close(form.along_constant(x, origin, separate=False).sum(2), expected.sum(2), 1e-7)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_follows_the_protocol_and_says_whether_positions_mix(name):
    form, x = FORMS[name], draw(1, 4, 6)
    assert isinstance(form, Form)
    moved = jacobian(form, x)[0]
    off = moved.abs().sum((1, 3))  # position out, position in
    alone = bool((off[~torch.eye(4, dtype=torch.bool)[-len(off) :]] == 0).all())
    assert alone is not form.mixes


@pytest.mark.parametrize("name", [name for name in FORMS if "few keys" in name])
def test_moments_through_few_keys_are_those_of_whole_matrices(name):
    form, x = FORMS[name], draw(7, 4, 6)
    parts, inner = form._parts(x), draw(2, 2, 8, 8)
    assert few_keys(parts.count, 8)
    found, slow = moments_by_keys(parts, inner), moments_of(parts, inner)
    for one, other in zip(found, slow, strict=True):
        close(one, other, 1e-12)


@pytest.mark.parametrize("rows", [5, 32, 77])
def test_squares_are_summed_as_in_double_precision(rows):
    values = draw(rows, 3, 4)
    close(sum_of_squares(values.float()), values.square().sum(0), 1e-6)
    close(sum_of_squares(values.clone()), values.square().sum(0), 1e-14)


def test_causal_attention_sees_no_later_position():
    form, x = attention(last=False), draw(2, 4, 6)
    moved = x.clone()
    moved[:, 3] += 1
    assert torch.equal(form.forward(moved)[:, :3], form.forward(x)[:, :3])


def test_an_unknown_nonlinearity_is_named():
    with pytest.raises(UnknownName, match="unknown activation 'rleu'; nearest: 'relu'"):
        Mlp(w_in=draw(2, 3), b_in=draw(3), w_out=draw(3, 2), b_out=draw(2), act="rleu")
