"""Random sources and integration rules against what they stand for."""

import pytest
import torch

from interaction.nets import close, draw, transformer, without_forms
from unweave.interaction.fit import fit
from unweave.interaction.generic import Sampling, edges, factor_of, path_points, pull
from unweave.interaction.stream import Local, Stream
from unweave.tensors.linalg import random_orthogonal

X = draw(40, 4, 6)


def causal():
    """A section whose every output position depends on the earlier ones."""
    from interaction.nets import attention

    form = attention(last=False)
    return form, Local(x=X, function=form.forward)


@pytest.mark.parametrize("sources", [(1, None), (None, 2), (1, 3), (2, 1)])
def test_sources_are_right_on_average(sources):
    """Over 200 seeds, the mean is within three standard errors in at least 98.5 % of entries."""
    form, local = causal()
    root = draw(6, 3)
    exact = form.finish([form.gather(X, root @ root.T)], root @ root.T)[0]
    drawn = torch.stack(
        [
            pull(local, root, mixes=True, sampling=Sampling(positions=sources[0], hidden=sources[1], seed=seed))
            for seed in range(200)
        ]
    )
    z = (drawn.mean(0) - exact) / (drawn.std(0) / 200**0.5)
    assert float((z.abs() < 3).double().mean()) >= 0.985
    assert float(drawn.std(0).max()) > 0


def test_more_sources_mean_less_error():
    form, local = causal()
    root = draw(6, 6)
    exact = form.finish([form.gather(X, root @ root.T)], root @ root.T)[0]

    def error(count):
        found = [
            pull(local, root, mixes=True, sampling=Sampling(positions=1, hidden=count, seed=seed)) - exact
            for seed in range(40)
        ]
        return float(torch.stack(found).square().mean().sqrt())

    assert 0.35 < error(8) / error(2) < 0.7  # 1/2 on average


def test_one_source_is_exact_where_there_is_one_output_position():
    sections = transformer()
    found = edges(Local(x=X, function=sections[0].form.forward), affine_six(), affine_six(), mixes=True)
    random = edges(Local(x=X, function=sections[0].form.forward), affine_six(), affine_six(), mixes=True, signs=(1, 5))
    close(random, found, 1e-10)


def affine_six():
    from interaction.nets import affine

    return affine(6, 5)


def test_stochastic_edges_are_right_on_average():
    _form, local = causal()
    exact = edges(local, affine_six(), affine_six(), mixes=True)
    drawn = torch.stack([edges(local, affine_six(), affine_six(), mixes=True, signs=(2, seed)) for seed in range(60)])
    z = (drawn.mean(0) - exact) / (drawn.std(0) / 60**0.5)
    assert float((z.abs() < 3.2).double().mean()) >= 0.96


def test_pushing_and_pulling_give_the_same_edges():
    _form, local = causal()
    from interaction.nets import affine

    few, many = affine(6, 1), affine(6, 6)
    pulled = edges(local, many, few, mixes=True)  # four positions of one output coordinate: fewer than six inputs
    pushed = edges(local, many, affine(6, 2), mixes=True)
    form, _ = causal()
    close(pulled, form.edges(X, many, few, torch.float64))
    close(pushed, form.edges(X, many, affine(6, 2), torch.float64))


def test_a_factor_gives_the_metric_back_with_as_few_columns_as_its_rank():
    root = draw(7, 3)
    factor = factor_of(root @ root.T)
    assert factor.shape == (7, 3)
    close(factor @ factor.T, root @ root.T, 1e-12)


@pytest.mark.parametrize(("rule", "intervals"), [("gauss_legendre", 3), ("trapezoidal", 400)])
def test_rules_integrate_polynomials(rule, intervals):
    points = path_points(rule, intervals)
    assert sum(weight * alpha**3 for alpha, weight in points) == pytest.approx(0.25, abs=1e-4)
    assert sum(weight for _, weight in points) == pytest.approx(1)


def test_sampled_fits_come_with_the_error_they_make():
    exact = fit(without_forms(transformer()), X, batch=5)
    drawn = fit(without_forms(transformer()), X, batch=5, sources=4)
    error = (drawn.lambdas["unembed"] - exact.lambdas["unembed"]).abs()
    assert float(error.max()) > 0
    assert float((error / drawn.lambda_se["unembed"]).median()) < 4


def test_seeds_decide_the_draw_and_nothing_else():
    one, same, other = (fit(transformer(), X, sources=2, seed=seed).lambdas["ln1.0"] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_inputs_are_not_touched():
    before = X.clone()
    fit(transformer(), X, sources=1)
    assert torch.equal(X, before)
    assert len(next(iter(Stream(transformer(), X, 7).walk()))[0]) == 7
    assert random_orthogonal(3, seed=0).shape == (3, 3)
