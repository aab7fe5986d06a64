"""The RAVEL-style suite: for every attribute of an entity, the block or subspace that carries it and nothing else,
chosen on some entities and tested on others.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `disentangle` | (cause + isolate) / 2 | share | held-out entities | Huang et al. 2024, arXiv 2402.17700, section 3 |
| `_alignment` | Q | (d, k) | multi-attribute DAS: cause and isolate pairs together | same, section 4 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unweave.directions.das import das, interchange_forward
from unweave.errors import DataError
from unweave.evals.causing.behaviours import answered
from unweave.evals.causing.causal import disentangle, ready_pairs
from unweave.evals.causing.changes import exchange
from unweave.evals.causing.pairs import Pairs, solved, some_pairs
from unweave.evals.causing.patching import scores
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.facts import AttributePairs, attributes
from unweave.evals.suites.planted_truth import planted_ravel_claims
from unweave.evals.suites.result import Claim, SuiteResult
from unweave.evals.suites.tables_of_facts import read_entities
from unweave.evals.suites.tasks.by_hand import PlantedTask
from unweave.evals.suites.testing import LEAST_DONE, cannot
from unweave.evals.suites.words import CITIES, CITY_TEMPLATES, middle_site
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad

RANK, STEPS = 8, 150
"""Of the subspace that is fitted where no featurizer is given."""


def run_ravel(model: Model | PlantedTask, featurizer: Any, asked: Asked) -> SuiteResult:
    """A claim an attribute: its block, or a subspace fitted here, on entities that were not chosen on.

    Args:
        model: A causal language model with a tokenizer, or the planted one.
        featurizer: A partition; None fits a subspace for each attribute (multi-attribute DAS).
        asked: Pairs of each kind, the table of entities, the site.

    Raises:
        DataError: Fewer than four entities, or no attribute that can be asked for.
    """
    if isinstance(model, PlantedTask):
        if featurizer is None:
            claims = planted_ravel_claims(model, asked)
            return SuiteResult(suite="ravel", model=model.model.fingerprint, rows=(), seed=asked.seed, claims=claims)
        model = model.model
    tables: Mapping[str, Any] = (
        {"entities": CITIES, "templates": CITY_TEMPLATES} if asked.data is None else read_entities(asked.data)
    )
    site = str(featurizer.site) if featurizer is not None else asked.site or middle_site(model, "resid_post")
    sides = _halves(tables["entities"], asked.seed)
    claims_, warnings = [], []
    with asked.progress.task("attributes", len(tables["templates"]), "attribute") as advance:
        for attribute in tables["templates"]:
            try:
                parts = [
                    attributes(
                        model, attribute, entities=side, templates=tables["templates"], count=asked.count,
                        seed=asked.seed,
                    )
                    for side in sides
                ]  # fmt: skip
            except DataError as error:
                warnings.append(f"{attribute}: left out, {error}")
                continue
            claims_.append(_claim(model, featurizer, site, parts, asked.seed))
            advance(1)
    if not claims_:
        raise DataError(f"no attribute can be tested: {warnings[0] if warnings else 'there are no templates'}")
    return SuiteResult(
        suite="ravel", model=model.fingerprint, rows=(), seed=asked.seed, claims=tuple(claims_),
        warnings=tuple(warnings),
    )  # fmt: skip


def _claim(model: Model, featurizer: Any, site: str, parts: Sequence[AttributePairs], seed: int) -> Claim:
    select, report = parts
    right = [solved(model, pairs) for one in parts for pairs in (one.cause, one.isolate)]
    done = float(np.concatenate(right).mean())
    what = f"{report.attribute}: "
    if done < LEAST_DONE or min(one.sum() for one in right) < 2:
        note = cannot(done, "pairs")
        return Claim(about=f"{what}not tested", site=site, expected=None, finding=None, note=note)
    kept = [some_pairs(pairs, ok) for pairs, ok in zip((select.cause, select.isolate), right[:2], strict=True)]
    if featurizer is None:
        basis, block = _alignment(model, site, kept, seed), 0
        about = f"{what}subspace of {basis.blocks[0]} dimensions fitted on other entities"
    else:
        basis, block = featurizer, _best_block(model, featurizer, kept)
        about = f"{what}block {block} of {len(featurizer.blocks)}, chosen on other entities"
    found = disentangle(model, basis, block, report.cause, report.isolate, seed=seed)
    return Claim(about=about, site=site, expected=None, finding=found)


def _best_block(model: Model, featurizer: Any, pairs: Sequence[Pairs]) -> int:
    """The block of the largest mean of cause and isolate."""
    total = np.zeros(len(featurizer.blocks))
    for one in pairs:
        ready = ready_pairs(model, featurizer, one)
        changes = [exchange(ready, featurizer, (block,)) for block in range(len(featurizer.blocks))]
        total += scores(ready, changes, answered(one.answer, among=one.among)).mean(1)
    return int(total.argmax())


def _alignment(model: Model, site: str, pairs: Sequence[Pairs], seed: int) -> Any:
    """A subspace whose exchange moves the attribute and leaves the others: cause and isolate pairs together."""
    base, source = (_joined([getattr(one, side) for one in pairs]) for side in ("base", "source"))
    places = [places[0] for one in pairs for places in one.positions]
    theirs = [places[0] for one in pairs for places in one.source_positions]
    rows, forward = interchange_forward(model, site, base, positions=places)
    given, _ = interchange_forward(model, site, source, positions=theirs)
    labels = torch.tensor([answer for one in pairs for answer in one.answer])
    rank = min(RANK, max(1, rows.shape[1] // 4))
    return das(
        forward, rows, given, labels, rank=rank, steps=STEPS, batch=32, seed=seed, site=site, model=model.fingerprint
    )


def _joined(parts: Sequence[Tokens]) -> Tokens:
    ids, mask = pad([row[real].tolist() for one in parts for row, real in zip(one.ids, one.mask, strict=True)])
    return Tokens(ids=ids, mask=mask)


def _halves(entities: Mapping[str, Mapping[str, str]], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(entities to choose on, entities to report)."""
    if len(entities) < 4:
        raise DataError(f"{len(entities)} entities: at least four are needed, half to choose on and half to report")
    order = np.random.default_rng([seed, 61]).permutation(list(entities)).tolist()
    half = len(order) // 2
    return tuple({name: entities[name] for name in part} for part in (order[:half], order[half:]))  # type: ignore[return-value]
