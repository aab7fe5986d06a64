"""Deliberately broken bases: each law must notice."""

from dataclasses import replace

import pytest

import laws_interaction as laws
from interaction.nets import draw, transformer
from unweave.interaction import basis, passes
from unweave.interaction.fit import fit
from unweave.interaction.perceptron import Mlp


def caught(law, implementation):
    with pytest.raises(AssertionError):
        law(implementation)


def test_a_basis_without_the_whitening(monkeypatch):
    def plain(found, pulled, config, provenance):
        flat = replace(found, variances=found.variances * 0 + 1)
        return honest(flat, pulled, config, provenance)

    honest = basis.interaction_basis
    monkeypatch.setattr(passes.kernels, "interaction_basis", plain)
    caught(laws.importance_is_the_mean_square, fit)


def test_edges_that_are_not_squared():
    def unsquared(sections, inputs):
        found = fit(sections, inputs)
        return replace(found, edges={pair: edges.sqrt() for pair, edges in found.edges.items()})

    caught(laws.derivatives_give_the_same_edges, unsquared)


def test_an_mlp_whose_skip_is_forgotten():
    def forgetful(form, groups, metric):
        return replace(form, skip=False).finish(groups, metric)

    caught(laws.skips_are_counted, forgetful)
    laws.skips_are_counted(Mlp.finish)


def test_the_laws_hold_of_the_real_thing():
    laws.importance_is_the_mean_square(fit)
    laws.derivatives_give_the_same_edges(fit)
    assert fit(transformer(), draw(20, 3, 6)).inputs == 20
