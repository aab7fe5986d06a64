"""The passes of a fit over the data: moments of every layer, what a section pulls back, the edges of a section.

Every pass sums over batches in a few groups, whose means give the standard errors; groups of all processes of a
distributed run are put side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.engine import ranks
from unweave.errors import DataError, InputError, unknown_name
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons
from unweave.features.featurizer import Provenance, units
from unweave.features.neurons import as_affine
from unweave.interaction import basis as kernels
from unweave.interaction.basis import LayerBasis, LayerRank
from unweave.interaction.config import BasisConfig, ComputeConfig
from unweave.interaction.constant import constant_sums
from unweave.interaction.folding import folded, with_constant
from unweave.interaction.forms import Sums
from unweave.interaction.generic import Sampling, factor_of, path_points, pull
from unweave.interaction.generic import edges as edges_by_derivatives
from unweave.interaction.stream import Local, Stream
from unweave.tensors.moments import Moments, merge_moments, moments

GROUPS = 16
"""Groups of batches whose means give standard errors and intervals."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """One fit: where the activations come from and what was asked for."""

    stream: Stream
    given: Mapping[Any, Any]
    config: BasisConfig
    compute: ComputeConfig
    points: tuple[tuple[float, float], ...] = field(default=())

    def __post_init__(self) -> None:
        """Sets the path of integration and checks the given bases against the layers."""
        object.__setattr__(self, "points", path_points(self.compute.integration, self.compute.intervals))
        layers = self.stream.layers
        for layer, featurizer in self.given.items():
            if layer not in layers:
                raise unknown_name("layer", str(layer), layers)
            width = self.widths[layers.index(layer)]
            if featurizer.width != width:
                raise InputError(
                    f"the featurizer for {layer} has width {featurizer.width} but the layer has {width}: give one of"
                    " that width"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each layer."""
        return (*(one.d_in for one in self.stream.sections), self.stream.sections[-1].d_out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grouped:
    """Sums over groups of batches, and how many rows each has."""

    sums: tuple[Tensor, ...]
    rows: tuple[int, ...]

    def total(self) -> Tensor:
        """Sum over all groups."""
        return reduce(torch.add, self.sums)

    def mean_error(self, each: Sequence[Tensor]) -> Tensor:
        """Standard error of the mean a row of a quantity with these sums a group; NaN for one group."""
        count, rows = len(each), sum(self.rows)
        if count < 2:
            return torch.full_like(each[0], torch.nan)
        mean = reduce(torch.add, each) / rows
        left = reduce(torch.add, [(one - size * mean).square() for one, size in zip(each, self.rows, strict=True)])
        return (left * count / (count - 1)).sqrt() / rows


@dataclass(frozen=True, kw_only=True, eq=False)
class SectionEdges:
    """The edges of one section."""

    edges: Float[Tensor, "r_out r_in"]
    grouped: Grouped
    """What the edges are the mean of: sums over groups of batches."""
    constant: Float[Tensor, " r_out"]
    worth: float
    """Mean over rows of what the constant of one position is worth to the next layer's coordinates."""


def layer_moments(
    stream: Stream, advance: Callable[[int], None] = lambda _count: None
) -> tuple[list[Moments], list[int], int]:
    """Mean and scatter of every node layer, its positions, and the number of inputs; over all processes of a run.

    Raises:
        DataError: No inputs.
    """
    total: list[Moments] | None = None
    positions: list[int] = []
    inputs = 0
    for rows in stream.walk():
        part = [moments(one.flatten(0, 1)) for one in rows]
        total = part if total is None else [merge_moments(a, b) for a, b in zip(total, part, strict=True)]
        positions = [one.shape[1] for one in rows]
        inputs += len(rows[0])
        advance(1)
    if total is None:
        raise DataError("there are no inputs: give at least one batch")
    merged = [reduce(merge_moments, ranks.gathered(one)) for one in total]
    return merged, positions, sum(ranks.gathered(inputs))


def layer_basis(work: Work, number: int, sums: Moments, bases: Mapping[str, LayerBasis]) -> tuple[LayerBasis, Tensor]:
    """The basis of one layer from those behind it, and the standard errors of its importances (empty without)."""
    layer, config = work.stream.layers[number], work.config
    none = torch.zeros(0, dtype=torch.float64)
    last = number == len(work.stream.sections)
    if layer in work.given:
        return _given(work.given[layer], sums), none
    if (last and not config.rotate_final) or config.basis == "neuron":
        return _given(neurons(len(sums.mean)), sums), none
    protected = 0 if last else work.stream.sections[number].isolated
    found = kernels.principal(sums, layer, config, protected=protected)
    origin = Provenance(method=config.basis, rows=sums.count, seed=work.compute.seed)
    if last or config.basis == "pca":
        return kernels.pca_basis(found, origin), none
    if config.basis in ("random", "whitened_random"):
        seed = work.compute.seed * 1000 + number
        return kernels.random_basis(found, origin, seed=seed, whitened=config.basis != "random"), none
    grouped = _pulls(work, number, bases)
    made = kernels.interaction_basis(found, grouped.total() / sums.count, config, origin)
    write = made.featurizer.write
    each = [((write @ part) * write).sum(1) for part in grouped.sums]  # C+ M' C+' is 1 over all
    return made, grouped.mean_error(each) * made.lambdas if len(each) > 1 else none


def section_edges(work: Work, number: int, rows: int, bases: Mapping[str, LayerBasis]) -> SectionEdges:
    """The edges of a section, their standard errors, and those of the constant."""
    stream = work.stream
    section = stream.sections[number]
    here, after = (bases[stream.layers[place]] for place in (number, number + 1))
    constant = torch.zeros(units(after.featurizer), dtype=torch.float64)
    worth = 0.0

    def parts() -> Iterator[tuple[Sums, int]]:
        nonlocal constant, worth
        for place, local in enumerate(stream.locals(number)):
            yield (_edges(work, number, place, local, here.featurizer, after.featurizer),), _rows(local)
            squares, value = constant_sums(section, local, here.featurizer, after.featurizer, after.metric)
            constant += squares
            worth += value

    grouped = _everyone(*_in_groups(parts()), _alone)
    return SectionEdges(
        edges=grouped.total() / rows,
        grouped=grouped,
        constant=reduce(torch.add, ranks.gathered(constant)) / rows,
        worth=sum(ranks.gathered(worth)) / rows,
    )


def constant_importances(
    layers: Sequence[str], positions: Sequence[int], edges: Mapping[tuple[str, str], SectionEdges]
) -> dict[str, float]:
    """Layer -> importance of the constant: what it is worth to the next layer's coordinates and, where it is carried
    on, to the next constant; NaN where biases are not known.
    """
    found = {layers[-1]: 0.0}
    for number in reversed(range(len(layers) - 1)):
        pair = layers[number], layers[number + 1]
        share = positions[number + 1] / positions[number]
        found[pair[0]] = edges[pair].worth + found[pair[1]] * share if pair in edges else torch.nan
    return {layer: found[layer] for layer in layers}


def variances(sums: Moments, basis: LayerBasis, config: BasisConfig) -> Float[Tensor, " d"]:
    """The eigenvalues of the covariance (about zero if not centred), descending."""
    if basis.spectrum is not None:
        return basis.spectrum
    covariance = sums.scatter / sums.count
    if not config.center:
        covariance = covariance + torch.outer(sums.mean, sums.mean)
    return torch.linalg.eigvalsh(covariance).flip(0)


def _given(featurizer: Any, sums: Moments) -> LayerBasis:
    """A featurizer that comes from elsewhere as the basis of a layer; one with a nonlinearity is taken by its read
    vectors where only a metric is needed.
    """
    affine = as_affine(featurizer)
    read = affine.read.double()
    moved = sums.mean - affine.origin.double()
    second = sums.scatter / sums.count + torch.outer(moved, moved)
    count = units(featurizer)
    return LayerBasis(
        featurizer=featurizer,
        lambdas=((read.T @ second) * read.T).sum(1),
        metric=read @ read.T,
        rank=LayerRank(width=len(read), variances=count, kept=count, floor_variance=0.0, floor_lambda=0.0),
        degenerate=tuple(featurizer.blocks),
    )


def _pulls(work: Work, number: int, bases: Mapping[str, LayerBasis]) -> Grouped:
    """Sums of `J K J'` over groups of batches."""
    stream, compute = work.stream, work.compute
    to_the_end = work.config.basis == "global"
    metric = bases[stream.layers[-1 if to_the_end else number + 1]].metric
    section = stream.sections[number]
    form = section.form
    exact = compute.integration == "gradient" and (compute.sources is None or not section.mixes)
    if form is not None and exact and not compute.fold_bias and not to_the_end:
        gathered = _in_groups((form.gather(local.x, metric), _rows(local)) for local in stream.locals(number))
        return _everyone(*gathered, lambda groups: form.finish(groups, metric))
    mixes = any(one.mixes for one in stream.sections[number:]) if to_the_end else section.mixes
    batches: Iterable[Local] = stream.composed(number) if to_the_end else stream.locals(number)
    if compute.fold_bias:
        batches = (folded(section, local) for local in batches)
    factor, width = factor_of(metric), work.widths[number]

    def parts() -> Iterator[tuple[Sums, int]]:
        for place, local in enumerate(batches):
            sampling = _sampling(work, number, place)
            one = pull(local, factor, mixes=mixes, sampling=sampling, points=work.points)
            yield (one[:width, :width],), _rows(local)  # a folded constant is none of the directions

    return _everyone(*_in_groups(parts()), _alone)


def _edges(work: Work, number: int, place: int, local: Local, source: Any, target: Any) -> Tensor:
    """Sum of squared attributions over a batch."""
    section, compute = work.stream.sections[number], work.compute
    form = section.form
    closed = compute.integration == "gradient" and compute.edges == "squared" and not compute.fold_bias
    if form is not None and closed and _plain(source) and _plain(target):
        dtype = torch.float32 if compute.matmul == "float32" else torch.float64
        return form.edges(local.x, as_affine(source), as_affine(target), dtype)
    signs = (compute.edge_sources, compute.seed * 4096 + place) if compute.edges == "stochastic" else None
    if compute.fold_bias:
        local, source = folded(section, local), with_constant(as_affine(source))
    found = edges_by_derivatives(local, source, target, mixes=section.mixes, points=work.points, signs=signs)
    return found[:, 1:] if compute.fold_bias else found


def _in_groups(parts: Iterable[tuple[Sums, int]]) -> tuple[list[Sums], list[int]]:
    """Sums and rows of the batches, dealt to a few groups in turn."""
    sums: list[Sums] = []
    rows: list[int] = []
    for place, (part, count) in enumerate(parts):
        if place < GROUPS:
            sums.append(part)
            rows.append(count)
        else:
            group = place % GROUPS
            sums[group] = tuple(a + b for a, b in zip(sums[group], part, strict=True))
            rows[group] += count
    return sums, rows


def _alone(groups: list[Sums]) -> list[Tensor]:
    return [one for (one,) in groups]


def _everyone(sums: list[Sums], rows: list[int], finish: Callable[[list[Sums]], list[Tensor]]) -> Grouped:
    """The finished groups of all processes."""
    everyone = ranks.gathered((finish(sums), rows))
    return Grouped(
        sums=tuple(one for each, _ in everyone for one in each),
        rows=tuple(count for _, each in everyone for count in each),
    )


def _sampling(work: Work, number: int, place: int) -> Sampling | None:
    """The sources of a batch: other signs for every section, batch and process."""
    sources = work.compute.sources
    if sources is None:
        return None
    positions, hidden = sources if sources[1] != 0 else (1, sources[0])
    seed = ((work.compute.seed * 64 + number) * 4096 + ranks.rank()) * 1_000_003 + place
    return Sampling(positions=positions, hidden=hidden, seed=seed)


def _rows(local: Local) -> int:
    return local.x[..., 0].numel()


def _plain(featurizer: Any) -> bool:
    """Whether closed forms hold: affine, without a nonlinearity."""
    return not isinstance(featurizer, AffineFeaturizer) or featurizer.act.kind == "identity"
