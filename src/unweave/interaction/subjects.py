"""What a basis is measured on: a model's chain of sections with inputs to fit on, held-out ones and their targets.

A language model is taken block by block, from the stream before one to the last norm; a change at the last norm is
worth what it does to the logits, so the vocabulary is never looped over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import DataError, InputError
from unweave.features.affine import AffineFeaturizer
from unweave.interaction.builders import chain, mlp, modadd
from unweave.interaction.labels import fourier_labels, pure_shares, spelt
from unweave.interaction.result import InteractionResult
from unweave.models.modadd import ModularAddition, modadd_pairs, modadd_targets
from unweave.models.model import Model
from unweave.models.points import blocks_of, logits_from, unembedding_matrix
from unweave.models.sections import Section
from unweave.tensors.linalg import symmetric_eigen

EACH = 4
"""Most windows of one document: many documents say more than a long one."""
SHARE = 0.5
"""Of the documents that is fitted on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model and the data that its bases are fitted and measured on."""

    name: str
    sections: tuple[Section, ...]
    inputs: Any
    held_out: Any
    targets: Tensor
    score: str
    tolerance: float
    head: Callable[[Tensor], Tensor] | None = None
    given: dict[str, AffineFeaturizer] = field(default_factory=dict)
    """The basis of the last layer, where it is not its own coordinates."""
    truth: Callable[[InteractionResult, Mapping[str, int]], dict[str, float]] | None = None
    """(fit, how many nodes of each layer) -> share of those that are of the known kind."""
    label: Callable[[InteractionResult], dict[str, tuple[str, ...]]] | None = None
    """Fit -> layer -> what each node stands for."""
    spell: Callable[[int], tuple[str, ...]] | None = None
    """Number of a held-out input -> its pieces, one a position where it has positions."""


def modadd_subject(model: Any, name: str = "modadd") -> Subject:
    """Modular addition: training pairs to fit on, the others to score.

    Args:
        model: As `modadd` takes it.
        name: What to call it.
    """
    sections = modadd(model)
    modulus = sections[-1].d_out - 1
    training, test = modadd_pairs(modulus)
    return Subject(
        name=name, sections=tuple(sections), inputs=training, held_out=test, targets=modadd_targets(test, modulus),
        score="accuracy", tolerance=0.001,
        truth=lambda result, kept: pure_shares(
            result, sections, {layer: count for layer, count in kept.items() if count}, modulus
        ),
        label=lambda result: {
            layer: tuple(map(spelt, terms)) for layer, terms in fourier_labels(result, sections, modulus).items()
        },
        spell=lambda row: (f"{int(test[row, 0])} + ", f"{int(test[row, 1])}", " = "),
    )  # fmt: skip


def perceptron_subject(layers: Any, images: tuple[Tensor, Tensor, Tensor], name: str, *, act: str = "relu") -> Subject:
    """A classifier of images.

    Args:
        layers: As `mlp` takes them.
        images: To fit on; held out; the held-out labels.
        name: What to call it.
        act: The nonlinearity.
    """
    return Subject(
        name=name, sections=tuple(mlp(layers, act=act)), inputs=images[0], held_out=images[1], targets=images[2],
        score="accuracy", tolerance=0.001, spell=lambda row: (f"image {row} of class {int(images[2][row])}",),
    )  # fmt: skip


def digits_subject(model: Model) -> Subject:
    """`zoo:digits` on scikit-learn's digits.

    Args:
        model: The model.
    """
    from unweave.models.zoo.modules import digits

    images, _, held_out, labels = digits()
    layers = [part for part in model.module.children() if isinstance(part, nn.Linear)]
    return perceptron_subject(layers, (images, held_out, labels), model.name)


def language_subject(
    model: Model, texts: Iterable[str], *, block: int | None = None, context: int = 64, windows: int = 64
) -> Subject:
    """One block of a language model, with what is behind it up to the last norm; scored by next-token loss.

    Args:
        model: A causal language model.
        texts: Documents; the first half of their windows is fitted on, the second scored.
        block: Which block; None takes the last.
        context: Tokens of a window.
        windows: Most windows of each half.

    Raises:
        InputError: Not a causal language model, or no such block.
        DataError: Too little text for two windows.
    """
    family = model.family
    if family is None or not model.predicts_next or "final_norm" not in family.others:
        raise InputError(f"{model.name} is no causal language model with a last norm: give a chain of sections to fit")
    if context < 1 or windows < 1:
        raise InputError(f"{windows} windows of {context} tokens: at least one window of one token is needed")
    depth = len(blocks_of(model.module, family))
    number = depth - 1 if block is None else block
    if not 0 <= number < depth:
        raise InputError(f"block {block} does not exist: the model has blocks 0..{depth - 1}")
    name = f"blocks.{number}"
    beside = (f"{name}.attn_out", f"{name}.resid_pre")  # where attention and MLP are side by side
    middle = f"{name}.resid_mid" if "resid_mid" in family.components else beside
    layers = [f"{name}.resid_pre", middle, f"{name}.resid_post", "final_norm"]
    ids = windows_of(model, texts, context + 1, most=2 * windows)
    half = max(int(SHARE * len(ids)), 1)
    return Subject(
        name=f"{model.name} block {number}",
        sections=tuple(chain(model, layers)),
        inputs=ids[:half, :-1],
        held_out=ids[half:, :-1],
        targets=ids[half:, 1:],
        score="loss",
        tolerance=0.01,
        head=lambda rows: logits_from(model.module, family, rows.to(model.dtype)),
        given={"final_norm": logit_readout(model)},
        spell=lambda row: tuple(model.tokenizer.decode([token]) for token in ids[half + row, :-1].tolist()),
    )


def logit_readout(model: Model) -> AffineFeaturizer:
    """Coordinates of the last norm whose squared length is that of the change of the logits: `K = W_U W_U'`.

    Args:
        model: A model with an unembedding.

    Raises:
        InputError: It has none.
    """
    if model.family is None or not model.has_logits:
        raise InputError(f"{model.name} has no logits: give a language model with its head")
    weight = unembedding_matrix(model.module, model.family).double()
    eigen = symmetric_eigen(weight.T @ weight)
    kept = eigen.values[: eigen.rank].sqrt()
    vectors = eigen.vectors[:, : eigen.rank]
    return AffineFeaturizer(read=vectors * kept, write=(vectors / kept).T)


def windows_of(model: Model, texts: Iterable[str], length: int, *, most: int) -> Tensor:
    """Full windows of consecutive tokens, one document after the other, from the start of each.

    Raises:
        DataError: Fewer than two.
    """
    found: list[Tensor] = []
    for text in texts:
        if not text.strip():
            continue
        ids = model.tokenize([text]).ids[0]
        found += [ids[first : first + length] for first in range(0, len(ids) - length + 1, length)][:EACH]
        if len(found) >= most:
            break
    if len(found) < 2:
        raise DataError(f"the text has {len(found)} windows of {length} tokens: two are needed, give more of it")
    return torch.stack(found[:most])


def subject_of(
    model: Model, texts: Iterable[str] | None, *, block: int | None = None, context: int = 64, windows: int = 64
) -> Subject:
    """What a model is measured on: its own data where it has some, else text.

    Args:
        model: The model.
        texts: Documents, for a language model.
        block: As in `language_subject`.
        context: As in `language_subject`.
        windows: As in `language_subject`.

    Raises:
        InputError: A language model without text, or a text or block for a model that has its own data.
    """
    own = isinstance(model.module, ModularAddition) or model.name == "zoo:digits"
    if own and (texts is not None or block is not None):
        raise InputError(f"{model.name} is measured on its own data: a text and a block are for language models")
    if isinstance(model.module, ModularAddition):
        return modadd_subject(model, model.name)
    if model.name == "zoo:digits":
        return digits_subject(model)
    if texts is None:
        raise InputError(f"{model.name} needs text: give documents")
    return language_subject(model, texts, block=block, context=context, windows=windows)
