"""Ablation: against the slow definition, at its ends, and on a network whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interaction.nets import affine, attention, block, close, draw, transformer, without_forms
from unweave.features.affine import AffineFeaturizer
from unweave.interaction import schedules
from unweave.interaction.ablation import ablate_nodes, envelope
from unweave.interaction.builders import mlp, sections_of
from unweave.interaction.edge_ablation import ablate_edges
from unweave.interaction.fit import fit
from unweave.interaction.forms import Linear
from unweave.interaction.masked import FEW, masked_outputs
from unweave.interaction.norms import Norm
from unweave.interaction.stream import Local

X = draw(80, 3, 6)
FORMS = {
    "linear": Linear(weight=draw(6, 6), bias=draw(6)),
    "relu": block(),
    "gelu without skip": block(act="gelu", skip=False),
    "gated": block(gated=True, act="silu"),
    "norm": Norm(weight=draw(6), bias=draw(6)),
    "attention, last": attention(),
    "attention, causal": attention(last=False, skip=False),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_masked_outputs_are_those_of_one_run_for_each_output(name, share):
    form = FORMS[name]
    section = sections_of([form], ["a", "b"], lambda x: x)[0] if name != "norm" else None
    source, target = affine(6, 5), affine(6, 4, seed=4)
    masks = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) < share
    masks[3] = masks[0]
    if section is None:
        section = replace(sections_of([FORMS["relu"]], ["a", "b"], lambda x: x)[0], form=form)
    local = Local(x=X, function=form.forward)
    z = (X - source.origin) @ source.read
    expected = [
        (form.forward(source.origin + (z * mask) @ source.write) - target.origin) @ target.read[:, unit]
        for unit, mask in enumerate(masks)
    ]
    close(masked_outputs(section, local, masks, source, target), torch.stack(expected, -1), 1e-12)


def test_attention_on_a_few_different_rows_is_looked_up():
    """Token embeddings repeat: the look-up and the direct computation agree."""
    form = attention(last=False)
    section = sections_of([form], ["a", "b"], lambda x: x)[0]
    source, target = affine(6, 5), affine(6, 4, seed=4)
    masks = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    few = draw(9, 6)[torch.randint(0, 9, (2000, 3), generator=torch.Generator().manual_seed(0))]
    many = torch.cat([few, draw(FEW, 3, 6)])
    one = masked_outputs(section, Local(x=few, function=form.forward), masks, source, target)
    other = masked_outputs(section, Local(x=many, function=form.forward), masks, source, target)
    close(other[:2000], one, 1e-12)


def test_outputs_that_are_a_neuron_each_are_one_product():
    """As where neurons stand behind a perceptron's layer: the same as through a basis that reads several at once."""
    form = block(act="relu", skip=False)
    section = sections_of([form], ["a", "b"], lambda x: x)[0]
    source, mixed = affine(6, 5), affine(6, 4, seed=4)
    single = replace(form, w_out=torch.eye(9).double() * 3, b_out=draw(9))
    read = torch.zeros(9, 4).double()
    read[[2, 0, 7, 7], [0, 1, 2, 3]] = torch.tensor([1.0, -2.0, 3.0, 0.0]).double()
    target = AffineFeaturizer(read=read, write=draw(4, 9), origin=draw(9))
    masks = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    alone = sections_of([single], ["a", "b"], lambda x: x)[0]
    z = (X - source.origin) @ source.read
    for one, at in ((alone, target), (section, mixed)):
        forward = one.form.forward
        expected = [
            (forward(source.origin + (z * mask) @ source.write) - at.origin) @ at.read[:, unit]
            for unit, mask in enumerate(masks)
        ]
        found = masked_outputs(one, Local(x=X, function=forward), masks, source, at)
        close(found, torch.stack(expected, -1), 1e-12)


@pytest.fixture(scope="module")
def scored():
    sections = transformer()
    outputs = X
    for one in sections:
        outputs = one.form.forward(outputs)
    return fit(sections, X), sections, outputs[:, 0].argmax(1)


def test_all_nodes_are_the_model_and_none_gives_zeros(scored):
    result, sections, targets = scored
    for found in ablate_nodes(result, sections, X, targets):
        by_kept = {one.kept: one.score for one in found.points}
        assert by_kept[7] == found.base.score == 1.0
        assert by_kept[0] == float((targets == 0).double().mean())
        assert found.needed == envelope({kept: score >= 0.999 for kept, score in by_kept.items()})


def test_kept_nodes_are_a_projection(scored):
    result, sections, targets = scored
    found = ablate_nodes(result, sections, X, targets, layers=["ln2.0"], schedule=[3])[0]
    basis = result.bases["ln2.0"]
    x = sections[0].form.forward(X)
    x = basis.origin + (x - basis.origin) @ basis.read[:, :2] @ basis.write[:2]
    for one in sections[1:]:
        x = one.form.forward(x)
    assert found.points[0].score == float((x[:, 0].argmax(1) == targets).double().mean())


def test_sections_without_weights_are_ablated_alike(scored):
    result, sections, targets = scored
    closed = ablate_nodes(result, sections, X, targets, score="loss")
    slow = ablate_nodes(result, without_forms(sections), X, targets, score="loss")
    for one, other in zip(closed, slow, strict=True):
        assert [at.score for at in one.points] == pytest.approx([at.score for at in other.points], abs=1e-5)  # float32


def test_all_edges_give_the_model_and_needed_ones_fall_with_the_tolerance(scored):
    result, sections, targets = scored
    strict = ablate_edges(result, sections, X, targets, tolerance=0.0)
    loose = ablate_edges(result, sections, X, targets, tolerance=0.2)
    for one, other in zip(strict, loose, strict=True):
        assert one.envelope is not None
        assert other.envelope is not None
        assert other.envelope <= one.envelope
        assert {at.kept: at.score for at in one.points}[max(at.kept for at in one.points)] <= 1.0
    every = ablate_edges(result, sections, X, targets, schedule=[10_000])
    assert [one.points[0].score for one in every] == [1.0] * 3


def test_a_network_of_known_edges_needs_those():
    """Each class reads one pixel: as many edges as classes, in both layers, in the neuron basis."""
    net = mlp([(torch.eye(4), torch.zeros(4)), (torch.eye(4), torch.zeros(4))])
    inputs = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).double()
    found = ablate_edges(fit(net, inputs, basis="neuron"), net, inputs, inputs.argmax(1))
    assert [(one.needed, one.envelope) for one in found] == [(4, 4), (4, 4)]
    assert all(torch.equal(one.mask, torch.eye(4, dtype=torch.bool)) for one in found)


def test_a_target_that_no_number_of_edges_reaches_is_said():
    """A basis of two directions of six loses the model: all its edges are not enough."""
    net = mlp([(torch.eye(6), torch.zeros(6)), (torch.eye(6), torch.zeros(6))])
    inputs = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)).double()
    found = fit(net, inputs, basis={"layers.1": affine(6, 2)})
    one = ablate_edges(found, net, inputs, inputs.argmax(1), layers=["layers.0"])[0]
    assert one.needed is None
    assert one.envelope is None
    assert "none reaches the target" in repr(one)


def test_the_exponential_schedule_is_that_of_the_reference():
    numbers = schedules.exponential(129)
    assert len(numbers) == 48
    assert numbers[:16] == [*range(12), 13, 15, 17, 19]
    assert numbers[-4:] == [113, 119, 125, 129]


@pytest.mark.parametrize("needed", [1, 2, 7, 133, 4160, 4161, 8321, 16641])
def test_bisection_from_the_sparse_end_ends_where_bisection_from_the_dense_end_does(needed):
    total, tried = 16641, []
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total - middle >= needed else (low, middle)
    assert schedules.bisect(total, lambda kept: tried.append(kept) or kept >= needed) == total - low == max(needed, 1)
    assert len(tried) <= 31
    assert schedules.bisect(total, lambda _kept: False) is None


def test_a_coarse_bisection_ends_near_and_never_below():
    for needed in (1, 60, 133, 4161, 6566, 16641):
        tried = []
        found = schedules.bisect(
            16641, lambda n, least=needed, seen=tried: seen.append(n) or n >= least, precision=0.02
        )
        assert found is not None
        assert needed <= found <= 1.02 * needed + 1
        assert len(tried) <= 23


def test_intervals_come_from_inputs():
    result, sections = fit(transformer(), X), transformer()
    targets = torch.zeros(80, dtype=torch.long)
    found = ablate_nodes(result, sections, X, targets, layers=["unembed"], schedule=[4])[0].points[0]
    spread = np.sqrt(found.score * (1 - found.score) * 80 / 79 / 80)
    assert found.high - found.score == pytest.approx(1.96 * spread, abs=1e-9)
