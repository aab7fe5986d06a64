"""Small networks whose interaction graphs are known, or can be computed the slow way."""

from __future__ import annotations

import itertools

import torch

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.attention import Attention
from unweave.interaction.builders import mlp, sections_of
from unweave.interaction.forms import Linear
from unweave.interaction.heads import Rotary
from unweave.interaction.norms import Divided, Norm, NormBeside, Variance
from unweave.interaction.perceptron import Mlp


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + sum(shape)))


def attention(width=6, heads=2, size=3, *, last=True, skip=True, norm=None, rotary=None, seed=0):
    return Attention(
        w_q=draw(heads, width, size, seed=seed), w_k=draw(heads, width, size, seed=seed + 1),
        w_v=draw(heads, width, size, seed=seed + 2), w_o=draw(heads, size, width, seed=seed + 3),
        b_q=draw(heads, size, seed=seed), b_k=draw(heads, size, seed=seed + 1), b_v=draw(heads, size, seed=seed + 2),
        b_o=draw(width, seed=seed), scale=0.5, last=last, skip=skip,
        norm=norm, rotary=rotary,
    )  # fmt: skip


def tables(count):
    """The first two pairs of a head turned by the position and lengthened; the rest left alone."""
    angles = torch.arange(count, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.3, 1.0, 0.3])
    return 1.1 * angles.cos(), 1.1 * angles.sin()


def block(width=6, neurons=9, act="relu", *, skip=True, gated=False, norm=None, reads=0, seed=0):
    return Mlp(
        w_in=draw(width, neurons, seed=seed), b_in=draw(neurons, seed=seed), w_out=draw(neurons, width, seed=seed + 1),
        b_out=draw(width, seed=seed), act=act, skip=skip, reads=reads,
        w_up=draw(width, neurons, seed=seed + 2) if gated else None,
        b_up=draw(neurons, seed=seed + 3) if gated else None, norm=norm,
    )  # fmt: skip


def unit(width=6, *, centred=True):
    return Norm(weight=torch.ones(width).double(), bias=torch.zeros(width).double(), centred=centred)


FORMS = {
    "linear": Linear(weight=draw(6, 4), bias=draw(4)),
    "norm": Norm(weight=draw(6), bias=draw(6, seed=1)),
    "root mean square": Norm(weight=draw(6), bias=draw(6, seed=1), centred=False),
    "MLP behind a norm": block(act="gelu", norm=Norm(weight=draw(6), bias=draw(6, seed=1))),
    "gated MLP behind a root mean square": block(
        act="silu", gated=True, norm=Norm(weight=draw(6), bias=torch.zeros(6).double(), centred=False)
    ),
    "MLP behind a norm without skip": block(skip=False, norm=Norm(weight=draw(6), bias=draw(6, seed=1))),
    "MLP beside what it does not read": block(
        width=4, norm=unit(4), act="gelu", reads=2, skip=draw(6, 4, seed=4)),
    "norm beside the stream": NormBeside(norm=Norm(weight=draw(6), bias=draw(6, seed=1))),
    "variance": Variance(norm=unit()),
    "mean square": Variance(norm=unit(centred=False)),
    **{f"divided by its variance beside={beside}": Divided(
        norm=Norm(weight=draw(5), bias=draw(5, seed=1), epsilon=9.0), beside=beside) for beside in (True, False)},
    "norm beside the stream and another": NormBeside(norm=Norm(weight=draw(4), bias=draw(4, seed=1)), reads=2),
    "variance beside another": Variance(norm=unit(3), reads=3),
    "divided beside another": Divided(norm=Norm(weight=draw(3), bias=draw(3, seed=1), epsilon=9.0), reads=2),
    "gated": block(gated=True, act="silu"),
    "gated without skip": block(gated=True, act="gelu", skip=False),
    **{f"attention last={last} skip={skip}": attention(last=last, skip=skip) for last in (True, False)
       for skip in (True, False)},
    **{f"attention behind a norm last={last}": attention(last=last, norm=unit(), skip=draw(6, 6, seed=4))
       for last in (True, False)},
    **{f"rotary attention last={last}": attention(last=last, size=5, rotary=Rotary(tables)) for last in (True, False)},
    **{f"rotary attention behind a root mean square last={last}": attention(
        last=last, size=5, norm=unit(centred=False), rotary=Rotary(tables), heads=3) for last in (True, False)},
    "rotary attention behind a norm without skip": attention(
        size=4, last=False, skip=False, norm=unit(), rotary=Rotary(tables)),
    **{f"attention over few keys last={last}": attention(last=last, size=8) for last in (True, False)},
    **{f"rotary attention over few keys behind a norm last={last}": attention(
        last=last, size=8, norm=unit(), rotary=Rotary(tables)) for last in (True, False)},
    **{f"{act} skip={skip}": block(act=act, skip=skip) for act in ("relu", "gelu", "gelu_new", "silu", "tanh")
       for skip in (True, False)},
}  # fmt: skip


def transformer(seed=0):
    """Attention read at the last position, an MLP, an unembedding: the chain of modular addition in small."""
    forms = [attention(seed=seed), block(seed=seed + 7), Linear(weight=draw(6, 5, seed=seed), bias=draw(5, seed=seed))]
    return sections_of(forms, ["ln1.0", "ln2.0", "unembed", "output"], lambda x: x)


def perceptron(sizes=(5, 7, 6, 4), act="relu", seed=0, bias=1.0):
    layers = [(draw(a, b, seed=seed + a), bias * draw(b, seed=seed)) for a, b in itertools.pairwise(sizes)]
    return mlp(layers, act=act)


def without_forms(sections):
    """The same functions, their weights unknown."""
    from dataclasses import replace

    return [replace(one, form=None) for one in sections]


def affine(width, count, seed=0):
    return AffineFeaturizer(read=draw(width, count, seed=seed), write=draw(count, width, seed=seed + 1),
                            origin=draw(width, seed=seed + 2))  # fmt: skip


def jacobian(form, x):
    """(batch, position out, coordinate out, position, coordinate), one sample after the other."""
    return torch.stack([torch.autograd.functional.jacobian(lambda a: form.forward(a[None])[0], one) for one in x])


def close(found, expected, tolerance=1e-10):
    """The largest difference relative to the largest value."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference <= tolerance, difference
