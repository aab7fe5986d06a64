"""Interchange: a source that is the base changes nothing, all blocks together are what each alone is by hand, and what
cannot be exchanged is refused.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import samples
import tiny
import unweave as uw
from unweave.errors import FingerprintError, InputError
from unweave.evals.causing.changes import exchange
from unweave.evals.causing.interchange import interchange, interchange_blocks
from unweave.evals.causing.patching import patching, scores
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import random_rotation
from unweave.features.featurizer import Provenance
from unweave.models.tokens import Tokens, pad

BASE, SOURCE = [[5, 6, 7, 8], [9, 10], [3, 4, 5]], [[15, 16, 17, 18], [19, 20], [13, 14, 15]]


def tokens(rows, side="right"):
    ids, mask = pad(rows, side=side)
    return Tokens(ids=ids, mask=mask)


def rotation(model, site, size=4):
    width = model.width(site)
    rest = (width % size,) if width % size else ()
    return replace(random_rotation(width), site=site, blocks=(size,) * (width // size) + rest)


def at_the_end(logits, batch):
    """The logits of the last real token of each row."""
    return logits[batch.mask & (batch.positions() == batch.lengths()[:, None] - 1)].detach()


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_source_that_is_the_base_gives_the_plain_run(family):
    model, base = tiny.model_of(family), tokens(BASE)
    for site in ("blocks.0.resid_post", "blocks.0.attn_z", "blocks.1.mlp_act", "embed"):
        for block in (1, [0, 2], None):
            assert torch.equal(interchange(model, rotation(model, site), block, base, base), model(base))


@pytest.mark.parametrize("kind", samples.featurizers())
def test_every_featurizer_leaves_the_base_alone_and_takes_from_a_source(kind):
    featurizer = samples.featurizers()[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
        base, source = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    model, featurizer = uw.load_model(module), replace(featurizer, site="1")
    assert torch.equal(interchange(model, featurizer, 0, base, base), model(base))
    every = list(range(len(featurizer.blocks)))
    with torch.no_grad():
        one, two = module[1](module[0](base)), module[1](module[0](source))
        (z, residual), (given, _) = featurizer.encode(one), featurizer.encode(two)
        first = torch.cat([given[:, : featurizer.blocks[0]], z[:, featurizer.blocks[0] :]], 1)
        expected = module[2](featurizer.decode(first, residual)), module[2](featurizer.decode(given, residual))
    torch.testing.assert_close(interchange(model, featurizer, 0, base, source), expected[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(interchange(model, featurizer, every, base, source), expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_blocks_together_are_blocks_one_by_one(family):
    model = tiny.model_of(family)
    base, source = tokens(BASE), tokens(SOURCE, side="left")
    for site in ("blocks.0.resid_mid", "blocks.1.attn_z", "embed"):
        basis = rotation(model, site)
        many = interchange_blocks(model, basis, base, source, [-1, -2], blocks=[0, 3, 5])
        for place, block in enumerate([0, 3, 5]):
            alone = interchange(model, basis, block, base, source, [-1, -2])
            torch.testing.assert_close(many[place], at_the_end(alone, base), rtol=0, atol=1e-5)
        assert float((many[0] - at_the_end(model(base), base)).abs().max()) > 1e-4


def test_padding_and_batch_size_do_not_matter():
    model, site = tiny.model_of("llama"), "blocks.0.resid_post"
    basis = rotation(model, site)
    expected = interchange_blocks(model, basis, tokens(BASE), tokens(SOURCE), [0, 1])
    for side in ("left", "right"):
        found = interchange_blocks(model, basis, tokens(BASE, side), tokens(SOURCE), [0, 1])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for rows in range(3):
        alone = interchange_blocks(model, basis, tokens([BASE[rows]]), tokens([SOURCE[rows]]), [0, 1])
        torch.testing.assert_close(alone[:, 0], expected[:, rows], rtol=0, atol=1e-5)
    behaviour = uw.evals.logit_difference([1, 2, 3], [4, 5, 6])
    values = []
    for batch in (1, 2, 256):
        ready = patching(model, site, tokens(BASE), tokens(SOURCE), batch=batch)
        values.append(scores(ready, [None, *(exchange(ready, basis, [block]) for block in range(5))], behaviour))
    for value in values[1:]:
        assert abs(value - values[0]).max() < 1e-5


def test_places_of_the_source_pair_up_with_those_of_the_base():
    model, site = tiny.model_of("gpt2"), "blocks.0.resid_post"
    basis = rotation(model, site)
    shifted = interchange(model, basis, None, [[5, 6, 7]], [[1, 15, 16]], [[0, 1]], source_positions=[[1, 2]])
    given = torch.tensor([[0, 1]]), np.array([[1, 2]])
    assert torch.equal(
        shifted, interchange(model, basis, None, [[5, 6, 7]], [[1, 15, 16]], given[0], source_positions=given[1])
    )
    ready = patching(model, site, [[5, 6, 7]], [[1, 15, 16]], positions=[0, 1], source_positions=[1, 2])
    assert torch.equal(ready.source, model.capture(torch.tensor([[1, 15, 16]]), [site])[site][0, 1:])
    assert not torch.allclose(shifted, model(torch.tensor([[5, 6, 7]])))


def test_an_oblique_basis_is_exchanged_through_its_covectors():
    """Exchanging a block moves its own read-outs and no other's; V V^T would move all (specs/evaluation.md T1)."""
    oblique = AffineFeaturizer(read=torch.tensor([[1.0, 0.6], [0.0, 0.8]]), site="0")
    model = uw.load_model(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Identity()))
    with torch.no_grad():
        model.module[0].weight.copy_(torch.eye(2))
    base, source = torch.tensor([[1.0, 2.0]]), torch.tensor([[-3.0, 5.0]])
    out = interchange(model, oblique, 0, base, source).detach()
    assert torch.allclose(oblique.encode(out)[0][0, 0], oblique.encode(source)[0][0, 0])
    assert torch.allclose(oblique.encode(out)[0][0, 1], oblique.encode(base)[0][0, 1], atol=1e-6)
    unit = oblique.read[:, :1]
    wrong = base + (source - base) @ unit @ unit.T  # the projector of the covector: exact for orthogonal bases only
    assert not torch.allclose(oblique.encode(wrong)[0][0, 1], oblique.encode(base)[0][0, 1], atol=0.1)


def test_what_cannot_be_exchanged_is_refused():
    model, site = tiny.model_of("gpt2"), "blocks.0.resid_post"
    basis = rotation(model, site)
    foreign = replace(basis, provenance=Provenance(model="0" * 64))
    with pytest.raises(FingerprintError, match="fitted on another model"):
        interchange(model, foreign, 0, [[1, 2]], [[3, 4]])
    for block in (99, -1, "0", [], True):
        with pytest.raises(InputError, match="block is"):
            interchange(model, basis, block, [[1, 2]], [[3, 4]])
    with pytest.raises(InputError, match="must belong to one site"):
        interchange(model, replace(basis, site=None), 0, [[1, 2]], [[3, 4]])
    with pytest.raises(InputError, match="input 0 has 3 positions in the base but 2 in the source"):
        interchange(model, basis, 0, [[1, 2, 3]], [[3, 4]])
    with pytest.raises(InputError, match="no source"):
        exchange(patching(model, site, [[1, 2]]), basis, None)
    image = uw.load_model(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()))
    with pytest.raises(InputError, match="rows of one width"):
        patching(image, "0", torch.ones(1, 1, 2, 2))
