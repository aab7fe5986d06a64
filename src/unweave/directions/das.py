"""Distributed alignment search: the subspace whose exchange between two inputs changes the output as a causal model
says.

DAS = interchange through an orthonormal basis + cross-entropy of the counterfactual label + Adam on the basis. The rest
of the network is a function from edited activations to scores: any function, or a model from a site on
(`interchange_forward`). A nonlinear rest can be driven off its data (trap: effects that are possible but not used), so
a fit here is a candidate for the causal tests of `evals`, never itself the evidence.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `basis` | Q | (d, k) | orthonormal columns: h_b + (h_s - h_b) Q Q' | Geiger et al. 2023 (arXiv 2303.02536), section 3 |
| `mask` | sigmoid((b - j) / T) | (d,) | which rotated dimensions are exchanged | Wu et al. 2023 (arXiv 2305.08809), section 3.2 |
| `temperature` | T | scalar | from 50 down, in dimensions | same, authors' code |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from unweave.config import Config, Seed, config_from
from unweave.directions.rows import finite_rows, source_of
from unweave.errors import DataError, InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Within
from unweave.models.capture import capture
from unweave.models.sections import Section
from unweave.models.tokens import Tokens, as_tokens
from unweave.tensors.linalg import random_orthogonal

if TYPE_CHECKING:
    from unweave.models.model import Model

Forward = Callable[[Tensor, Tensor], Tensor]
"""(edited activations (m, d), which rows of the data they are (m,)) -> scores (m, classes)."""
HOTTEST, COLDEST = 50.0, 0.1


class DASConfig(Config):
    """How an alignment is searched for."""

    steps: int = 300
    """Of Adam, its step size falling to zero."""
    batch: int = 64
    """Pairs a step."""
    lr: float = 5e-3
    """Step size of the basis."""
    seed: Seed = 0
    """Of the start and of the batches."""


def das(
    forward: Any,
    base: Any,
    source: Any,
    labels: Any,
    *,
    rank: int,
    steps: int = 300,
    batch: int = 64,
    lr: float = 5e-3,
    seed: int = 0,
    site: Any = None,
    model: str | None = None,
) -> AffineFeaturizer:
    """The k-dimensional subspace whose exchange makes the output the counterfactual one; one block, its inner rotation
    arbitrary.

    Args:
        forward: (h (m, d), rows (m,)) -> scores (m, classes): what follows the site; `rows` says which pairs they are.
            `interchange_forward` gives it for a model; a `Section` of a plain module is taken as it is.
        base: Activations (n, d) of the base inputs at the site.
        source: Activations (n, d) of the source inputs.
        labels: (n,) the class that the causal model says after the exchange, as a column of the scores.
        rank: k.
        steps: Of Adam, its step size falling to zero.
        batch: Pairs a step.
        lr: Step size of the basis.
        seed: Of the start and of the batches.
        site: Where the activations come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: Shapes that do not fit, a rank outside 1..d, or scores that are not (m, classes).
        DataError: NaN, or fewer than two pairs.

    Source:
        Geiger et al. 2023 (arXiv 2303.02536).

    Example:
        >>> base, source = torch.randn(2, 200, 4, dtype=torch.float64)
        >>> def forward(h, rows): return torch.stack([-h[:, 2], h[:, 2]], 1)
        >>> found = das(forward, base, source, (source[:, 2] > 0).long(), rank=1, steps=100, lr=0.05)
        >>> bool(found.read[2].abs() > 0.98), found
        (True, AffineFeaturizer(width 4, 1 units in 1 block))
    """
    options = {"steps": steps, "batch": batch, "lr": lr, "seed": seed}
    config = config_from(DASConfig, options, source="options")
    pairs = interchange_pairs(base, source, labels)
    width = pairs[0].shape[1]
    if not 1 <= rank <= width:
        raise InputError(f"rank is {rank} but the width is {width}: 1..{width} dimensions can be exchanged")
    free = random_orthogonal(width, seed=seed)[:, :rank].to(pairs[0].dtype).requires_grad_(True)

    def exchanged(difference: Tensor, _step: int) -> tuple[Tensor, Tensor | float]:
        basis = torch.linalg.qr(free).Q
        return (difference @ basis) @ basis.T, 0.0

    losses = _searched(forward_of(forward), pairs, [{"params": [free], "lr": config.lr}], exchanged, config)
    basis = torch.linalg.qr(free.detach().double()).Q
    return _featurizer(basis, (rank,), "das", (losses, len(pairs[0]), config), (base, site, model))


def boundless_das(
    forward: Any,
    base: Any,
    source: Any,
    labels: Any,
    *,
    penalty: float = 0.1,
    steps: int = 600,
    batch: int = 64,
    lr: float = 5e-3,
    seed: int = 0,
    site: Any = None,
    model: str | None = None,
) -> AffineFeaturizer:
    """As `das`, with the number of dimensions learned too: a soft boundary over rotated dimensions that hardens.

    Args:
        forward: As in `das`.
        base: Activations (n, d) of the base inputs at the site.
        source: Activations (n, d) of the source inputs.
        labels: (n,) the class that the causal model says after the exchange.
        penalty: Price of exchanging all dimensions, in nats.
        steps: Of Adam; the temperature falls from 50 to 0.1 dimensions on the way.
        batch: Pairs a step.
        lr: Step size of the rotation.
        seed: Of the start and of the batches.
        site: Where the activations come from.
        model: Fingerprint of the model they come from.

    Returns:
        Two blocks, the exchanged dimensions and the others, or one if all are exchanged.

    Raises:
        InputError: Shapes that do not fit, or scores that are not (m, classes).
        DataError: NaN, or fewer than two pairs.

    Source:
        Wu et al. 2023 (arXiv 2305.08809); initial width d/2 and temperatures of the authors' code.

    Example:
        >>> base, source = torch.randn(2, 200, 4, dtype=torch.float64)
        >>> def forward(h, rows): return torch.stack([-3 * h[:, 2], 3 * h[:, 2]], 1)
        >>> found = boundless_das(forward, base, source, (source[:, 2] > 0).long(), steps=150, lr=0.05, penalty=0.5)
        >>> found.blocks[0] < 4, bool(found.read[2, : found.blocks[0]].norm() > 0.9)
        (True, True)
    """
    options = {"steps": steps, "batch": batch, "lr": lr, "seed": seed}
    config = config_from(DASConfig, options, source="options")
    pairs = interchange_pairs(base, source, labels)
    width = pairs[0].shape[1]
    free = random_orthogonal(width, seed=seed).to(pairs[0].dtype).requires_grad_(True)
    share = torch.tensor(0.5, dtype=pairs[0].dtype, requires_grad=True)
    places = torch.arange(width, dtype=pairs[0].dtype) + 0.5

    def exchanged(difference: Tensor, step: int) -> tuple[Tensor, Tensor | float]:
        temperature = HOTTEST * (COLDEST / HOTTEST) ** (step / max(1, config.steps - 1))
        mask = torch.sigmoid((share * width - places) / temperature)
        rotation = torch.linalg.qr(free).Q
        return ((difference @ rotation) * mask) @ rotation.T, penalty * share.clamp_min(0)

    groups = [{"params": [free], "lr": config.lr}, {"params": [share], "lr": 2 * config.lr}]
    losses = _searched(forward_of(forward), pairs, groups, exchanged, config)
    rotation = torch.linalg.qr(free.detach().double()).Q
    kept = int((places < float(share.detach()) * width).sum())
    blocks = (kept, width - kept) if 0 < kept < width else (width,)
    told = (losses, len(pairs[0]), config)
    notes = ("no dimension was exchanged: the penalty outweighs the labels",) if not kept else ()
    return _featurizer(rotation, blocks, "boundless das", told, (base, site, model), notes)


def interchange_forward(
    model: Model, site: str, tokens: Any, *, positions: int | Sequence[int] = -1
) -> tuple[Float[Tensor, "n d"], Forward]:
    """The activations of each sequence at one token, and the rest of the model as a function of them, for `das`.

    Args:
        model: A model with logits.
        site: Where activations are exchanged.
        tokens: The base inputs, or (for their activations alone) the source inputs.
        positions: Which real token of each sequence, negative ones counted from its end; one for all or one each.

    Returns:
        Rows (n, d), and the function to the logits at the last real token (m, vocabulary).

    Raises:
        InputError: A model without logits, or a position outside a sequence.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> rows, forward = interchange_forward(model, "blocks.0.resid_post", model.tokenize(["One text.", "Two."]))
        >>> torch.allclose(forward(rows, torch.arange(2))[1], model(model.tokenize("Two."))[0, -1], atol=1e-4)
        True
    """
    if not model.has_logits:
        raise InputError("the model has no logits: write the function from activations to scores yourself")
    batch = as_tokens(tokens)
    column = _columns(batch, positions)
    last = _columns(batch, -1)
    every = torch.arange(len(batch))
    rows = capture(model, batch, [site])[site].flatten(2)[every, column]

    def forward(h: Tensor, which: Tensor) -> Tensor:
        part = Tokens(ids=batch.ids[which], mask=batch.mask[which])
        here = torch.arange(len(which)), column[which]

        def put(value: Tensor) -> Tensor:
            flat = value.flatten(2).clone()
            flat[here] = h.to(flat)
            return flat.reshape(value.shape)

        with model.edit({site: put}):
            logits = model(part)
        return logits[torch.arange(len(which)), last[which]]

    return rows, forward


def forward_of(forward: Any) -> Forward:
    """The function, or that of a section which needs nothing but the activations at its start."""
    if isinstance(forward, Section):
        if forward.mixes and len(forward.site_in) and forward.site_in[0].layer is not None:
            raise InputError(
                f"section {forward.name} needs the other tokens too: take interchange_forward(model, site, tokens)"
            )
        return lambda h, _rows: forward(h, None)
    if not callable(forward):
        raise InputError(f"forward is a {type(forward).__name__}: a function (h, rows) -> scores is needed")
    return cast(Forward, forward)


def _columns(batch: Tokens, positions: int | Sequence[int]) -> Int[Tensor, " n"]:
    lengths = batch.lengths()
    wanted = torch.as_tensor(positions, dtype=torch.long).expand(len(batch)).clone()
    wanted = torch.where(wanted < 0, wanted + lengths, wanted)
    if bool(((wanted < 0) | (wanted >= lengths)).any()):
        row = int(torch.nonzero((wanted < 0) | (wanted >= lengths))[0])
        raise InputError(f"sequence {row} has {int(lengths[row])} tokens: the position {positions} is outside of it")
    number = batch.mask.long().cumsum(1) - 1
    return ((number == wanted[:, None]) & batch.mask).long().argmax(1)


def interchange_pairs(base: Any, source: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Checked activations of pairs and the class of each after the exchange.

    Raises:
        InputError: Shapes that do not fit, or labels that are no whole numbers.
        DataError: NaN, or fewer than two pairs.
    """
    one, two = finite_rows(base, name="base"), finite_rows(source, name="source")
    if one.shape != two.shape:
        raise InputError(f"base is {tuple(one.shape)} but source is {tuple(two.shape)}: row i of both is one pair")
    wanted = torch.as_tensor(labels)
    if wanted.shape != (len(one),) or wanted.is_floating_point():
        raise InputError(
            f"labels have shape {tuple(wanted.shape)} and dtype {wanted.dtype}: one whole number a pair is needed, the"
            f" column of the scores after the exchange, {len(one)} in all"
        )
    if len(one) < 2:
        raise DataError(f"{len(one)} pair: an alignment needs at least two")
    return one, two, wanted.long()


def _searched(
    forward: Forward,
    pairs: tuple[Tensor, Tensor, Tensor],
    groups: list[dict[str, Any]],
    exchanged: Callable[[Tensor, int], tuple[Tensor, Tensor | float]],
    config: DASConfig,
) -> list[float]:
    """Adam on the free parameters; the loss of every step."""
    base, source, labels = pairs
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / config.steps)
    parameters = [one for group in groups for one in group["params"]]
    losses = []
    for step in range(config.steps):
        rows = torch.randperm(len(base), generator=generator)[: config.batch]
        with torch.enable_grad():
            change, price = exchanged(source[rows] - base[rows], step)
            scores = forward(base[rows] + change, rows)
            if scores.ndim != 2 or len(scores) != len(rows):
                raise InputError(
                    f"forward got {len(rows)} rows and returned shape {tuple(scores.shape)}: (rows, classes) is needed"
                )
            loss = cross_entropy(scores, labels[rows].to(scores.device))
            gradients = torch.autograd.grad(loss + price, parameters)
        losses.append(float(loss.detach()))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        schedule.step()
    return losses


def _featurizer(
    basis: Tensor,
    blocks: tuple[int, ...],
    method: str,
    told: tuple[list[float], int, DASConfig],
    where: tuple[Any, Any, str | None],
    notes: tuple[str, ...] = (),
) -> AffineFeaturizer:
    losses, rows, config = told
    source = source_of(*where)
    tenth = max(1, len(losses) // 10)
    first, last = (sum(part) / len(part) for part in (losses[:tenth], losses[-tenth:]))
    stuck = (
        ()
        if last < first or math.isclose(first, 0, abs_tol=1e-6)
        else (f"the loss did not fall ({first:.3g} to {last:.3g} nats): more steps=, another lr=, or no such subspace",)
    )
    return AffineFeaturizer(
        read=basis,
        write=basis.T,
        blocks=blocks,
        gauge=Gauge(within=Within.ROTATION),
        site=source.site,
        capacity=Capacity(parameters=basis.numel()),
        provenance=source.provenance(
            f"{method}, loss {last:.3g} nats", rows, seed=config.seed, warnings=(*notes, *stuck)
        ),
    )
