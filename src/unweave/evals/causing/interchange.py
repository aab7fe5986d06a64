"""`interchange`: the logits of a base input with one block of its activations taken from a source input.

    z_F := z_F(source),   h' = decode(z') + residual        (the residual is the base's own)

`interchange` runs the model with an edit; `interchange_blocks` does all blocks of a featurizer at once behind one clean
and one source pass. A source that is the base changes nothing, for every featurizer, because the residual is kept and
values that did not change are left as they are to the bit.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `block` | F | - | the units that are exchanged | specs/evaluation.md E9 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.evals.causing.changes import check_blocks_of, exchange
from unweave.evals.causing.patching import logits_after, patching
from unweave.features.featurizer import Featurizer
from unweave.models.edits import Edit
from unweave.models.model import Model


def interchange(
    model: Model,
    featurizer: Featurizer,
    block: Any,
    base: Any,
    source: Any,
    positions: Any = "all",
    *,
    source_positions: Any = None,
) -> Float[Tensor, "batch *axes vocabulary"]:
    """The model's output on the base with a block of the source.

    Args:
        model: The model.
        featurizer: With the blocks; its site says where.
        block: Number of the block, several numbers, or None for the whole site, residual included.
        base: `Tokens` or ids; for a plain module its inputs.
        source: As many inputs.
        positions: Which positions are exchanged; see `unweave.models.positions`.
        source_positions: Those of the source that belong to them, in order; None is the same rule.

    Returns:
        What `model(base)` gives: logits (batch, pos, vocabulary). With the base as source, those of the plain run.

    Raises:
        InputError: A block that does not exist, a featurizer without a site, positions that do not pair up.
        FingerprintError: The featurizer was fitted on another model.

    Source:
        Interchange intervention: Geiger et al. 2021, arXiv 2106.02997, section 3.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> basis = uw.features.neurons(model.width("blocks.1.mlp_act"), site="blocks.1.mlp_act")
        >>> tokens = model.tokenize(["The text of a test."])
        >>> bool(torch.equal(interchange(model, basis, 3, tokens, tokens), model(tokens)))
        True
    """
    chosen = check_blocks_of(model, featurizer, block)
    ready = patching(model, str(featurizer.site), base, source, positions=positions, source_positions=source_positions)
    with torch.no_grad():
        new = exchange(ready, featurizer, chosen)(ready.base, torch.arange(len(ready.row)))
        full = ready.start[..., : ready.width].clone()
        moved = torch.zeros(full.shape[:2], dtype=torch.bool)
        full[ready.row, ready.column] = new.to(full)
        moved[ready.row, ready.column] = (new != ready.base).any(-1)

        def put(old: Tensor) -> Tensor:
            where = moved.reshape(*moved.shape, *[1] * (old.ndim - 2)) if old.ndim > 2 else moved
            return torch.where(where.to(old.device), full.reshape(old.shape).to(old), old)

        with model.edit(Edit(site=str(ready.site), operator=put)):
            return model(base)


def interchange_blocks(
    model: Model,
    featurizer: Featurizer,
    base: Any,
    source: Any,
    positions: Any = "all",
    *,
    source_positions: Any = None,
    blocks: Sequence[int] | None = None,
    read: Any = "last",
) -> Float[Tensor, "blocks reads vocabulary"]:
    """The logits at the positions that are read, after the interchange of each block alone: one clean and one source
    pass, then all blocks along the batch axis of what comes behind the site.

    Args:
        model: The model.
        featurizer: With the blocks.
        base: `Tokens` or ids; for a plain module its inputs.
        source: As many inputs.
        positions: Which positions are exchanged.
        source_positions: Those of the source that belong to them, in order; None is the same rule.
        blocks: Numbers of the blocks; None is all.
        read: The positions whose logits are wanted, by rows.

    Example:
        >>> import unweave as uw
        >>> model, site = uw.load_model("zoo:docs"), "blocks.1.resid_post"
        >>> basis = uw.features.random_rotation(model.width(site), site=site)
        >>> one, two = model.tokenize(["The text of a test."]), model.tokenize(["And one other text."])
        >>> interchange_blocks(model, basis, one, two, positions="last", blocks=[0, 1]).shape[:2]
        torch.Size([2, 1])
    """
    chosen = range(len(featurizer.blocks)) if blocks is None else blocks
    numbers = [check_blocks_of(model, featurizer, block) for block in chosen]
    ready = patching(model, str(featurizer.site), base, source, positions=positions, source_positions=source_positions)
    return logits_after(ready, [exchange(ready, featurizer, number) for number in numbers], read=read)
