"""Circuits whose mechanism is published, as suites: our tests must support the published part and no decoy beside it.

* induction: heads 1 to 3 of block 1 copy what followed; head 2 of block 0 looks one back and feeds their keys (weights
  of arXiv 2301.05217's code).
* brackets: head 1 of block 2 reports a negative depth from the right, head 0 a wrong total (ARENA's classifier).
* modular-addition: a few frequencies carry the sum (Nanda et al. 2023, arXiv 2301.05217, section 4).
* copying: no heads are published, its claims are open (arXiv 2508.01916, the copy transformer).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `paths_to_keys` | z_h W_O into the keys of block 1 alone | (batch, pos, d) | direct path between two heads | Wang et al. 2022, arXiv 2211.00593, path patching |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.averages import sign_flip
from unweave.evals.causing.behaviours import SEQUENCE, Behaviour, logit_difference
from unweave.evals.causing.causal import interchange_accuracy, interchange_effect, shift_by
from unweave.evals.causing.changes import exchange, other_rows
from unweave.evals.causing.patching import patching, scores
from unweave.evals.causing.removal import ablate_block
from unweave.evals.findings import Finding, Prediction, judged
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.circuits import frequency_blocks, key_frequencies, modular_addition_pairs
from unweave.evals.suites.result import Claim, SuiteResult
from unweave.evals.suites.testing import LEAST_DONE, cannot
from unweave.features.affine import AffineFeaturizer
from unweave.models.modadd import ModularAddition
from unweave.models.model import Model
from unweave.models.plain_transformer import PlainTransformer
from unweave.tensors.grouped import grouped_mean

HALF = 20
"""Tokens that are repeated once."""
PUBLISHED_INDUCTION = (4, 48, 128)
"""Heads, width and tokens of the model whose heads are published."""
LETTERS, SEEN = 26, 17
"""Of the copy transformer; a cycle of at most 16 letters has been seen at this position."""
OPEN, CLOSED, LENGTH = 3, 4, 26
CARRIES = {"a closing too many from the right": 1, "a wrong total": 0}
"""Failure -> the head of block 2 that reports it."""


def run_induction(model: Model, asked: Asked) -> SuiteResult:
    """Claims about heads on sequences that are repeated once.

    Args:
        model: The published weights, loaded.
        asked: Sequences.
    """
    module = _plain(model, "induction", blocks=2)
    generator = torch.Generator().manual_seed(asked.seed)
    half = torch.randint(0, module.unembed.weight.shape[1], (asked.count, HALF), generator=generator)
    tokens = torch.cat([half, half], 1)
    measure = _log_probability(tokens, range(HALF, 2 * HALF - 1))
    known = (module.heads, module.embed.W_pos.shape[1], module.unembed.weight.shape[1]) == PUBLISHED_INDUCTION
    return _repeating(model, module, tokens, measure, asked, suite="induction", known=known)


def run_copying(model: Model, featurizer: Any, asked: Asked) -> SuiteResult:
    """Open claims about heads on cycles of letters, and about the blocks of a partition of the stream.

    Args:
        model: The released weights, loaded.
        featurizer: A partition at `blocks.0.resid`, such as a released one.
        asked: Sequences.
    """
    module = _plain(model, "copying", blocks=2)
    rng = np.random.default_rng([asked.seed, 67])
    tokens, other = (_cycles(rng, asked.count) for _ in range(2))
    measure = _log_probability(tokens, range(SEEN, tokens.shape[1] - 1))
    found = _repeating(model, module, tokens, measure, asked, suite="copying", known=False)
    if featurizer is None or not found.tested:
        return found
    claims = list(found.claims)
    for where, places in (("seen first", range(1, SEEN)), ("repeated", range(SEEN, tokens.shape[1]))):
        ready = patching(model, "blocks.0.resid", tokens, other, positions=list(places))
        for block in range(len(featurizer.blocks)):
            effect = interchange_effect(
                ready, featurizer, block, measure, prediction=Prediction(direction="less"), seed=asked.seed
            )
            about = f"block {block} of {len(featurizer.blocks)} carries the cycle where it is {where}"
            claims.append(Claim(about=about, site="blocks.0.resid", expected=None, finding=effect))
    return SuiteResult(
        suite="copying", model=found.model, rows=(), seed=found.seed, claims=tuple(claims), tables=found.tables
    )


def run_brackets(model: Model, asked: Asked) -> SuiteResult:
    """Claims about which head carries which failure into the answer.

    Args:
        model: The published weights, loaded.
        asked: Pairs of a balanced and an unbalanced string.
    """
    module = _plain(model, "brackets", blocks=3)
    rng = np.random.default_rng([asked.seed, 71])
    base = _strings(rng, asked.count, total=0, from_right=True)
    sources = {
        "a closing too many from the right": _strings(rng, asked.count, total=0, from_right=False),
        "a wrong total": _strings(rng, asked.count, total=None, from_right=True),
    }
    with torch.no_grad():
        right = [(module(one)[:, 0].argmax(-1) == wanted) for one, wanted in zip(
            (base, *sources.values()), (1, 0, 0), strict=True)]  # fmt: skip
    done = float(torch.cat(right).double().mean())
    if done < LEAST_DONE:
        return _undone("brackets", model, done, asked.seed)
    measure = logit_difference([0] * asked.count, [1] * asked.count, read=[0])
    claims = []
    for failure, layer in product(sources, (2, 0)):
        ready = patching(model, f"blocks.{layer}.z", base, sources[failure], positions=[0])
        basis = _heads(module, layer)
        changes = [exchange(ready, basis, (head,)) for head in range(module.heads)]
        values = scores(ready, [None, *changes], measure)
        effects = values[1:] - values[0]
        for head in range(module.heads):
            known = head == CARRIES[failure]
            found = against_others(
                "interchange effect", "B(balanced; z_head := z_head(unbalanced)) - B(balanced)", effects, head, measure,
                seed=asked.seed,
            )  # fmt: skip
            about = f"head {layer}.{head}, more than the other, reports {failure}"
            claims.append(
                Claim(about=about, site=f"blocks.{layer}.z", expected=known if layer == 2 else None, finding=found)
            )
    return SuiteResult(suite="brackets", model=model.fingerprint, rows=(), seed=asked.seed, claims=tuple(claims))


def run_modular_addition(model: Model, asked: Asked) -> SuiteResult:
    """Claims about the key frequencies, and about as many that the unembedding hardly reads.

    Args:
        model: `zoo:modadd`, or weights in the format of either publication.
        asked: Pairs of sums.
    """
    module: Any = model.module
    if isinstance(module, ModularAddition):
        weights, modulus, site = module.unembed.W_U, module.modulus, "blocks.0.mlp"
    elif isinstance(module, PlainTransformer):
        weights, modulus, site = module.unembed.weight, module.unembed.weight.shape[1] - 1, "blocks.0.resid"
    else:
        raise InputError(f"suite 'modular-addition' is of models that add modulo p, not of {model.name}: zoo:modadd")
    pairs = modular_addition_pairs(modulus, asked.count, seed=asked.seed)
    with torch.no_grad():
        said = model(pairs.base).reshape(len(pairs), -1, modulus + 1)[:, -1, :modulus].argmax(-1)
    done = float((said.numpy() == np.asarray(pairs.base_answer)).mean())
    if done < LEAST_DONE:
        return _undone("modular-addition", model, done, asked.seed)
    strength = key_frequencies(weights.detach(), modulus)
    count = int((strength > 0.1 * strength.max()).sum())
    claims = []
    for weakest, kind in ((False, "the key frequencies"), (True, "as many weakest frequencies")):
        basis = frequency_blocks(weights.detach(), modulus, count, site=site, weakest=weakest)
        effect = interchange_accuracy(model, basis, 0, pairs, seed=asked.seed)
        about = f"{kind} ({basis.blocks[0]} dimensions) carry the sum"
        claims.append(Claim(about=about, site=site, expected=not weakest, finding=effect))
    order = np.argsort(-strength)[: count + 3]
    table = tuple({"frequency": int(one) + 1, "share": float(strength[one] / strength.sum())} for one in order)
    return SuiteResult(
        suite="modular-addition", model=model.fingerprint, rows=(), seed=asked.seed, claims=tuple(claims),
        tables={"frequencies of the unembedding": table},
    )  # fmt: skip


def _repeating(
    model: Model,
    module: Any,
    tokens: Tensor,
    measure: Behaviour,
    asked: Asked,
    *,
    suite: str,
    known: bool,
) -> SuiteResult:
    site = "blocks.1.z"
    ready = patching(model, site, tokens)
    plain = scores(ready, [None], measure)[0]
    done = float((plain > 1 - np.log(module.unembed.weight.shape[1])).mean())
    if done < LEAST_DONE:
        return _undone(suite, model, done, asked.seed)
    claims = []
    effects = paths_to_keys(model, module, tokens, measure, seed=asked.seed)
    for head in range(module.heads):
        about = f"head 0.{head}, more than the others, says through the keys of block 1 where to look"
        expected = head == 2 if known else None
        found = against_others(
            "path from head to keys", "B(M) - B(M; keys of block 1 see another sequence's head)", effects, head,
            measure, seed=asked.seed,
        )  # fmt: skip
        claims.append(Claim(about=about, site="blocks.1.key_in", expected=expected, finding=found))
    basis = _heads(module, 1)
    groups: Sequence[Any] = [(1, 2, 3), 0] if known else range(module.heads)
    for kind in ("resample", "mean", "zero"):
        for heads in groups:
            found = ablate_block(ready, basis, heads, measure, kind=kind, seed=asked.seed)
            named = ", ".join(f"1.{one}" for one in (heads if isinstance(heads, tuple) else (heads,)))
            about = f"heads {named} copy what followed ({kind} ablation)"
            claims.append(Claim(about=about, site=site, expected=(heads != 0) if known else None, finding=found))
    return SuiteResult(
        suite=suite, model=model.fingerprint, rows=(), seed=asked.seed, claims=tuple(claims),
        tables={"where heads look": _looks(module, tokens)},
    )  # fmt: skip


def paths_to_keys(
    model: Model, module: Any, tokens: Tensor, measure: Behaviour, *, seed: int = 0
) -> Float[np.ndarray, "heads items"]:
    """What a behaviour loses when one head of block 0 reaches the keys of block 1 from another sequence, and nothing
    else does, a row a head.

    Args:
        model: The model.
        module: Its module.
        tokens: Sequences.
        measure: What is measured.
        seed: Of the other sequences.
    """
    mixed = model.capture(tokens, ["blocks.0.z"])["blocks.0.z"]
    ready = patching(model, "blocks.1.key_in", tokens)
    values = mixed[ready.row, ready.column]
    shift = (values[other_rows(ready.row, seed=seed)] - values).unflatten(1, (module.heads, -1))
    written = torch.einsum("phe,hed->hpd", shift, module.blocks[0].W_O.detach())
    found = scores(ready, [None, *(shift_by(one) for one in written)], measure)
    return found[0] - found[1:]


def against_others(
    test: str, formula: str, effects: Float[np.ndarray, "heads items"], head: int, measure: Behaviour, *, seed: int
) -> Finding:
    """One head against the strongest of the others, item by item: a published mechanism says that it is this head.

    Args:
        test: Its name.
        formula: What was measured.
        effects: Of every head on every item.
        head: The one that is claimed.
        measure: Whose unit the effects have.
        seed: Of interval and flips.

    Raises:
        InputError: A single head.

    Example:
        >>> from unweave.evals.causing.behaviours import logit_difference
        >>> found = against_others(
        ...     "t", "f", np.stack([np.arange(9.0) + 5, np.zeros(9)]), 0, logit_difference([1], [0]), seed=0
        ... )
        >>> found.verdict.value, found.details["strongest other"]
        ('supported', 1)
    """
    if len(effects) < 2:
        raise InputError("there is one head: it can be compared with no other")
    means = effects.mean(1)
    other = max((one for one in range(len(effects)) if one != head), key=lambda one: means[one])
    apart, codes = effects[head] - effects[other], np.arange(effects.shape[1])
    p_value, claim = sign_flip(apart, seed=seed), Prediction()
    control = float(means[other])
    difference = replace(grouped_mean(apart, codes, seed=seed), p_value=p_value, null=0.0)
    return Finding(
        test=test, formula=formula, unit=measure.unit, scope=measure.scope,
        effect=replace(grouped_mean(effects[head], codes, seed=seed), control=control, p_value=p_value),
        difference=difference,
        values=effects[head], null=tuple(sorted(float(one) for one in np.delete(means, head))), draws=len(effects) - 1,
        floor=0.0, ceiling=None, prediction=claim, verdict=judged(difference, claim, p_value),
        warnings=difference.warnings, details={"strongest other": other},
    )  # fmt: skip


def _looks(module: Any, tokens: Tensor) -> tuple[dict[str, Any], ...]:
    """How much each head looks one back, and at what followed the same token before."""
    seen = tokens.unsqueeze(2) == tokens.unsqueeze(1)
    followed = torch.zeros_like(seen, dtype=torch.float32)
    followed[:, :, 1:] = seen[:, :, :-1].float()
    followed = followed.tril(-1)
    rows = []
    for layer in range(len(module.blocks)):
        with torch.no_grad():
            pattern = module.pattern(tokens, layer)
        back = pattern.diagonal(-1, 2, 3).mean((0, 2))
        asked = followed.sum(-1) > 0
        copied = (pattern * followed.unsqueeze(1)).sum(-1)
        rows += [
            {
                "head": f"{layer}.{head}", "one back": float(back[head]),
                "what followed before": float(copied[:, head][asked].mean()),
            }
            for head in range(module.heads)
        ]  # fmt: skip
    return tuple(rows)


def _log_probability(tokens: Tensor, read: Sequence[int]) -> Behaviour:
    places = list(read)

    def score(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        target = tokens[rows, columns + 1].expand(len(logits), -1).unsqueeze(-1)
        return logits.log_softmax(-1).gather(-1, target).squeeze(-1) / len(places)

    return Behaviour(
        name="log-probability of the repeat", scope=SEQUENCE, unit="nats a token", read=places, score=score
    )


def _cycles(rng: np.random.Generator, count: int) -> Tensor:
    """The start sign and a cycle of distinct letters, 32 tokens."""
    rows = []
    for _ in range(count):
        letters = rng.permutation(LETTERS)[: int(rng.integers(2, SEEN))]
        rows.append([LETTERS + 1, *np.resize(letters, 31).tolist()])
    return torch.tensor(rows)


def _strings(rng: np.random.Generator, count: int, *, total: int | None, from_right: bool) -> Tensor:
    """Bracket strings with this sum of opening minus closing (None: any but 0), whose depth from the right stays at or
    above 0 or does not.
    """
    found: list[list[int]] = []
    while len(found) < count:
        signs = _walk(rng) if from_right else rng.permutation(np.repeat([1, -1], LENGTH // 2))
        if total is None:
            signs = signs.copy()
            opening = np.nonzero(signs == 1)[0]
            signs[rng.choice(opening, size=int(rng.integers(1, 4)), replace=False)] = -1
        stays = bool((np.cumsum(-signs[::-1]) >= 0).all())
        if stays == from_right and (signs.sum() == 0) == (total == 0):
            found.append([0, *np.where(signs == 1, OPEN, CLOSED).tolist(), 2])
    return torch.tensor(found)


def _walk(rng: np.random.Generator) -> np.ndarray:
    """A balanced string as signs."""
    signs, depth = [], 0
    for left in range(LENGTH, 0, -1):
        step = 1 if depth == 0 or (depth < left and rng.random() < 0.5) else -1
        signs.append(step)
        depth += step
    return np.array(signs)


def _heads(module: Any, layer: int) -> AffineFeaturizer:
    size = module.blocks[layer].W_Q.shape[2]
    width = module.heads * size
    return AffineFeaturizer(
        read=torch.eye(width, dtype=torch.float64), site=f"blocks.{layer}.z", blocks=(size,) * module.heads
    )


def _plain(model: Model, suite: str, *, blocks: int) -> Any:
    module = model.module
    if not isinstance(module, PlainTransformer) or len(module.blocks) != blocks:
        raise InputError(
            f"suite {suite!r} is of a published model of {blocks} blocks, not of {model.name}: --model is its file of"
            " weights in the names of TransformerLens"
        )
    return module


def _undone(suite: str, model: Model, done: float, seed: int) -> SuiteResult:
    return SuiteResult(suite=suite, model=model.fingerprint, rows=(), seed=seed, warnings=(cannot(done, "inputs"),))
