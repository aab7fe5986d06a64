"""Laws of the interaction basis as functions of an implementation, for the tests and for the mutants that must break
them.

A `fit` here is anything that is called like `uw.interaction.fit`; a `finish` like that of a closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from interaction.nets import block, close, draw, transformer
from unweave.interaction.stream import Stream


def importance_is_the_mean_square(fit: Callable[..., Any]) -> None:
    """`E[z_i^2] = Lam_i` at every layer but the last."""
    inputs = draw(60, 3, 6)
    found = fit(transformer(), inputs)
    rows = next(iter(Stream(transformer(), inputs, 999).walk()))
    for layer, one in zip(found.layers[:-1], rows, strict=False):
        z = found.bases[layer].encode(one.flatten(0, 1))[0]
        close(z.square().mean(0), found.lambdas[layer], 1e-8)


def derivatives_give_the_same_edges(fit: Callable[..., Any]) -> None:
    """A chain known as functions alone has the edges of the chain whose weights are known."""
    from interaction.nets import without_forms
    from unweave.interaction.fit import fit as honest

    inputs = draw(40, 3, 6)
    closed, slow = fit(transformer(), inputs), honest(without_forms(transformer()), inputs)
    for pair, edges in closed.edges.items():
        close(edges, slow.edges[pair], 1e-5)


def skips_are_counted(finish: Callable[..., list[torch.Tensor]]) -> None:
    """The metric of an MLP with a skip is that of automatic differentiation."""
    form, x = block(), draw(9, 1, 6)
    metric = torch.eye(6, dtype=torch.float64)
    whole = torch.stack([torch.autograd.functional.jacobian(lambda a: form.forward(a[None])[0, 0], one) for one in x])
    expected = torch.einsum("bosd,bose->de", whole, whole)
    close(finish(form, [form.gather(x, metric)], metric)[0], expected)
