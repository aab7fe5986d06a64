"""Whether the sites of a model mean what they say: laws that hold for every transformer, on a random batch.

| law | what must hold |
|---|---|
| 1 | what a block gives is what the next takes; the stream is the sum of what the parts add, or its norm |
| 2 | heads through the output matrix are what attention adds, neurons through the down matrix what the MLP adds |
| 3 | a site is the same value alone and among all others |
| 4 | outputs are those of the bare model, to the bit, also in an empty edit and after a capture |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from unweave.errors import InputError
from unweave.models.families import Family
from unweave.models.loading import device_of
from unweave.models.model import Model
from unweave.models.points import blocks_of
from unweave.site import BLOCK_COMPONENTS, OTHER_COMPONENTS

ALLOWED: Mapping[torch.dtype, float] = MappingProxyType(
    {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
)
"""Relative difference of two orders of summation, by the precision of the weights."""
LAWS: Mapping[int, str] = MappingProxyType(
    {
        1: "the stream is the sum of its parts, or the norm of it",
        2: "heads and neurons go through their matrices",
        3: "a site is the same value alone and among others",
        4: "outputs are those of the bare model to the bit",
    }
)


@dataclass(frozen=True, kw_only=True)
class LawResult:
    """How well one law holds."""

    law: int
    says: str
    worst: float
    """Largest difference, relative to the largest value there."""
    where: str
    """The site of it."""
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the difference is rounding."""
        return self.worst <= self.allowed


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """One line of the table of sites."""

    site: str
    meaning: str
    shape: tuple[int | str, ...]
    """`batch` and `pos`, then numbers."""
    dtype: str


def random_ids(model: Model, *, batch: int = 2, length: int = 12, seed: int = 0) -> Tensor:
    """A batch of random token ids that the model takes.

    Raises:
        InputError: A plain module, which has no tokens.
    """
    if model.family is None or model.vocabulary_size is None:
        raise InputError(f"{model.name} is of no known family, so there is no telling what it takes")
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.vocabulary_size, (batch, min(length, model.context or length)), generator=generator)


def site_table(model: Model) -> list[SiteRow]:
    """Every site with its meaning, shape and dtype, from one pass over a random batch.

    Example:
        >>> import unweave as uw
        >>> row = site_table(uw.load_model("zoo:docs"))[1]
        >>> row.site, row.shape
        ('blocks.0.resid_pre', ('batch', 'pos', 192))
    """
    found = model.capture(random_ids(model), model.sites())
    meanings = {name: text.partition(" (")[0] for name, text in (BLOCK_COMPONENTS | OTHER_COMPONENTS).items()}
    return [
        SiteRow(
            site=str(site),
            meaning=meanings[site.component],
            shape=("batch", "pos", *found[site].shape[2:]),
            dtype=str(found[site].dtype).removeprefix("torch."),
        )
        for site in model.sites()
    ]


def check_laws(model: Model, *, seed: int = 0) -> list[LawResult]:
    """The four laws on a random batch, each with the largest difference that was found.

    Args:
        model: A transformer of a known family.
        seed: Of the batch.

    Raises:
        InputError: A plain module.

    Example:
        >>> import unweave as uw
        >>> [result.holds for result in check_laws(uw.load_model("zoo:docs"))]
        [True, True, True, True]
    """
    ids = random_ids(model, seed=seed)
    family = cast(Family, model.family)
    with torch.no_grad():
        found = {str(site): value for site, value in model.capture(ids, model.sites(), device=None).items()}
        differences = {
            1: list(_stream(model, family, found)),
            2: list(_matrices(model, family, found)),
            3: list(_alone(model, ids, found)),
            4: list(_unchanged(model, ids, found)),
        }
    allowed = {1: ALLOWED[model.dtype], 2: ALLOWED[model.dtype], 3: 0.0, 4: 0.0}
    results = []
    for law, seen in differences.items():
        worst, where = max(seen, default=(0.0, ""))
        results.append(LawResult(law=law, says=LAWS[law], worst=worst, where=where, allowed=allowed[law]))
    return results


def compare_devices(model: Model, device: str) -> float:
    """Largest difference of the output on another device from the one here, relative to the largest value.

    Args:
        model: A transformer of a known family; a copy of it is moved.
        device: Such as `cuda` or `mps`.

    Raises:
        UnknownName: No such kind of device.
        InputError: A device that is not there.
    """
    import copy

    placed = device_of(device)
    ids = random_ids(model)
    with torch.no_grad():
        here = model(ids).float().cpu()
        other = Model(module=copy.deepcopy(model.module).to(placed), family=model.family, name=model.name)
        return _difference(other(ids).float().cpu(), here)


def _stream(model: Model, family: Family, found: Mapping[str, Tensor]) -> Iterator[tuple[float, str]]:
    blocks = blocks_of(model.module, family)
    for layer, block in enumerate(blocks):
        name = f"blocks.{layer}"
        pre, attention, mlp, post = (
            found[f"{name}.{part}"] for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        if family.parallel:
            yield _difference(post, pre + attention + mlp), f"{name}.resid_post"
        else:
            middle = found[f"{name}.resid_mid"]
            yield _difference(middle, _normed(block, family.attention_norm, pre + attention)), f"{name}.resid_mid"
            yield _difference(post, _normed(block, family.mlp_norm, middle + mlp)), f"{name}.resid_post"
        if layer + 1 < len(blocks):
            following = f"blocks.{layer + 1}.resid_pre"
            yield _difference(found[following], post), following


def _matrices(model: Model, family: Family, found: Mapping[str, Tensor]) -> Iterator[tuple[float, str]]:
    for layer, block in enumerate(blocks_of(model.module, family)):
        for values, matrix, norm, added in (
            ("attn_z", family.attention_matrix, family.attention_out_norm, "attn_out"),
            ("mlp_act", family.mlp_matrix, family.mlp_out_norm, "mlp_out"),
        ):
            before = found.get(f"blocks.{layer}.{values}")
            if before is None:  # experts
                continue
            out = _normed(block, norm, block.get_submodule(matrix)(before.flatten(2)))
            yield _difference(found[f"blocks.{layer}.{added}"], out), f"blocks.{layer}.{added}"


def _alone(model: Model, ids: Tensor, found: Mapping[str, Tensor]) -> Iterator[tuple[float, str]]:
    for site, value in found.items():
        yield _difference(model.capture(ids, site, device=None)[site], value), site


def _unchanged(model: Model, ids: Tensor, found: Mapping[str, Tensor]) -> Iterator[tuple[float, str]]:
    on_device = ids.to(model.device)
    output = cast(Any, model.module)(on_device)
    bare = next((output[key] for key in ("logits", "last_hidden_state") if key in output), None)
    if bare is not None:
        yield _difference(model(ids), bare), "output"
        with model.edit([]):
            yield _difference(model(ids), bare), "output"
    kept = {site: value.clone() for site, value in found.items()}
    model(ids.flip(0))
    for site, value in found.items():
        yield _difference(value, kept[site]), site


def _normed(block: nn.Module, norm: str | None, x: Tensor) -> Tensor:
    return x if norm is None else block.get_submodule(norm)(x)


def _difference(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    wanted = wanted.to(got.device)
    largest = wanted.double().abs().max().clamp_min(1e-30)
    worst = float((got.double() - wanted.double()).abs().max() / largest)
    return worst if worst == worst else float("inf")  # NaN is no agreement
