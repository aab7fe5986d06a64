"""What the weights say of neurons before any text is read: how strongly they read and write, what silences them, and
which tokens they push up or down.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `reads` | W_in (gate and up where there are two) | (m, d) | what each neuron reads from the stream | specs/probing.md 9 |
| `biases` | b_in | (m,) | added before the nonlinearity, where the map has one | same |
| `writes` | W_out | (m, d) | what each neuron writes back | same |
| `bias_times_norm` | norm(W_in) b_in | (m,) | strongly negative in early layers: a signature of superposition | arXiv 2305.01610, section 5 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from unweave.errors import InputError
from unweave.models.model import Model
from unweave.models.offloaded import value_of
from unweave.models.points import blocks_of, find_point, unembedding_matrix
from unweave.site import Site


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronWeights:
    """The weights of all m neurons of one MLP of a stream of width d, float32 on the CPU."""

    reads: Mapping[str, Float[Tensor, "m d"]]
    """By role: `in`, or `gate` and `up`."""
    biases: Mapping[str, Float[Tensor, " m"]]
    """By role; none where the map has none."""
    writes: Float[Tensor, "m d"]

    def statistics(self) -> dict[str, Float[Tensor, " m"]]:
        """Every statistic of every neuron: norms, biases, cosine of reading and writing, norm times bias."""
        found: dict[str, Tensor] = {}
        for role, read in self.reads.items():
            norm = read.norm(dim=1)
            found[f"norm of W_{role}"] = norm
            if role in self.biases:
                bias_times_norm = norm * self.biases[role]
                found[f"b_{role}"] = self.biases[role]
                found[f"norm of W_{role} times b_{role}"] = bias_times_norm
            found[f"cosine of W_{role} and W_out"] = cosine_similarity(read, self.writes, dim=1)
        found["norm of W_out"] = self.writes.norm(dim=1)
        return found

    def __repr__(self) -> str:
        """Roles and shape."""
        return f"NeuronWeights({', '.join(self.reads)}, {tuple(self.writes.shape)})"


def neuron_weights(model: Model, site: str) -> NeuronWeights:
    """The weights around the neurons of an MLP.

    Args:
        model: A transformer of a known family.
        site: Its neurons, such as `blocks.2.mlp_act`.

    Raises:
        InputError: Another kind of site or model: its units have no weights of their own.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> weights = neuron_weights(model, "blocks.1.mlp_act")
        >>> list(weights.reads), weights.writes.shape == (model.width("blocks.1.mlp_act"), 192)
        (['gate', 'up'], True)
    """
    name = Site(site)
    family = model.family
    if family is None or name.component != "mlp_act" or name.layer is None:
        raise InputError(
            f"{site!r} has no weights of single units: neurons have, at sites such as blocks.0.mlp_act of a"
            " transformer of a known family"
        )
    blocks = blocks_of(model.module, family)
    if name.layer >= len(blocks):
        raise InputError(f"{site!r} is outside the model: it has blocks 0..{len(blocks) - 1}")
    find_point(model.module, family, site)
    block = blocks[name.layer]
    maps = {role: block.get_submodule(path) for role, path in family.mlp_inputs.items()}
    reads = {role: _inputs_first(one).T.contiguous() for role, one in maps.items()}
    biases = {
        role: value_of(one, "bias").float().cpu()
        for role, one in maps.items()
        if getattr(one, "bias", None) is not None
    }
    return NeuronWeights(reads=reads, biases=biases, writes=_inputs_first(block.get_submodule(family.mlp_matrix)))


def written_tokens(model: Model, write: Float[Tensor, " d"], *, most: int = 10) -> tuple[tuple[str, float], ...]:
    """The tokens whose logits a write vector raises most, then those it lowers most, by `W_out W_U` without the last
    norm; nothing for a model without logits.

    Args:
        model: Whose unembedding.
        write: A direction of the stream.
        most: Tokens a side.

    Example:
        >>> import unweave as uw
        >>> model = uw.load_model("zoo:docs")
        >>> found = written_tokens(model, neuron_weights(model, "blocks.1.mlp_act").writes[3], most=2)
        >>> len(found), found[0][1] >= found[1][1] > 0 > found[2][1]
        (4, True)
    """
    if model.family is None or not model.has_logits:
        return ()
    effects = unembedding_matrix(model.module, model.family).float().cpu() @ write
    count = min(most, len(effects) // 2)
    order = torch.argsort(effects, descending=True, stable=True)
    chosen = [*order[:count].tolist(), *order[len(order) - count :].tolist()]
    return tuple((_string(model.tokenizer, token), float(effects[token])) for token in chosen)


def _inputs_first(module: nn.Module) -> Tensor:
    """The matrix of a linear map as (inputs, outputs)."""
    weight = value_of(module).float().cpu()
    return weight.T.contiguous() if isinstance(module, nn.Linear) else weight


def _string(tokenizer: Any, token: int) -> str:
    if tokenizer is None:
        return f"token {token}"
    text = tokenizer.decode([token])
    return tokenizer.convert_ids_to_tokens(token) if "\ufffd" in text else text  # a part of a character
