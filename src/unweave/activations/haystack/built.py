"""What a builder gives: sequences to run, features of their rows, and an account of everything left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from unweave.activations.labels import LabelledFeature
from unweave.activations.prepared import Prepared
from unweave.activations.store import ActivationStore
from unweave.activations.windows import SpecialTokens, special_tokens
from unweave.errors import InputError
from unweave.models.fingerprints import tokenizer_fingerprint

LEAST_POSITIVES, LEAST_GROUPS = 20, 5
"""A feature with fewer positives, or positives in fewer groups, is skipped, and listed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenFeature:
    """Labels of tokens: `sequence[i]`, `position[i]` has the feature or not."""

    name: str
    sequence: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    values: Bool[np.ndarray, " n"]
    strata: tuple[str, ...] = ()
    """Kind of each row, where a collection tells kinds of negatives apart."""
    note: str = ""

    @property
    def positives(self) -> int:
        """How many have it."""
        return int(self.values.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """A collection ready to run: `uw.collect(model, built.sequences, ...)`, then `built.labelled(store)`."""

    collection: str
    context: int
    sequences: tuple[Prepared, ...]
    features: tuple[TokenFeature, ...]
    skipped: Mapping[str, str]
    """Feature -> why it is not there."""
    drops: Mapping[str, int]
    """Reason -> how many documents, sentences or mentions it took."""
    seed: int = 0
    strata_kinds: tuple[str, ...] = field(default=())
    """The kinds that `strata` of the features name."""

    def report(self) -> list[dict[str, Any]]:
        """One dictionary a feature: rows, positives, groups, groups with positives, or why it was skipped."""
        groups = np.array([one.group or f"#{number}" for number, one in enumerate(self.sequences)])
        told = [
            {
                "feature": one.name,
                "rows": len(one.values),
                "positives": one.positives,
                "groups": len(np.unique(groups[one.sequence])),
                "groups_with_positives": len(np.unique(groups[one.sequence[one.values]])),
                "status": "built",
                "note": one.note,
            }
            for one in self.features
        ]
        nothing = {"rows": 0, "positives": 0, "groups": 0, "groups_with_positives": 0, "note": ""}
        return told + [{"feature": name, **nothing, "status": reason} for name, reason in self.skipped.items()]

    def labelled(self, store: ActivationStore) -> list[LabelledFeature]:
        """The features for the rows of a store that was collected from the sequences.

        Raises:
            InputError: The store was made from something else.
        """
        document, position = (store.rows[name].astype(np.int64) for name in ("document", "position"))
        wanted = [(number, place) for number, one in enumerate(self.sequences) for place in one.row_positions]
        if list(zip(document.tolist(), position.tolist(), strict=True)) != wanted:
            raise InputError(
                f"the store at {store.path} was not collected from the sequences of {self.collection}: collect"
                " built.sequences"
            )
        base = self.context + 1
        key = document * base + position
        return [
            LabelledFeature(
                name=one.name,
                level="token",
                index=np.searchsorted(key, one.sequence * base + one.position),
                values=one.values,
                note=one.note,
            )
            for one in self.features
        ]

    def __repr__(self) -> str:
        """Collection, features, sequences."""
        return (
            f"Built({self.collection}, {len(self.features)} features, {len(self.skipped)} skipped,"
            f" {len(self.sequences)} sequences)"
        )


def finished(
    collection: str,
    sequences: Sequence[Prepared],
    features: Sequence[TokenFeature],
    *,
    context: int,
    drops: Counter[str],
    seed: int,
    least: int = LEAST_POSITIVES,
    strata_kinds: tuple[str, ...] = (),
) -> Built:
    """The collection without features that are too small and without sequences that no feature looks at; each sequence
    keeps only the positions that a feature looks at.
    """
    found = finished_together(
        {collection: features},
        sequences,
        context=context,
        drops=drops,
        seed=seed,
        least=least,
        strata_kinds=strata_kinds,
    )
    return found[collection]


def finished_together(
    features: Mapping[str, Sequence[TokenFeature]],
    sequences: Sequence[Prepared],
    *,
    context: int,
    drops: Counter[str],
    seed: int,
    least: int = LEAST_POSITIVES,
    strata_kinds: tuple[str, ...] = (),
) -> dict[str, Built]:
    """Collections on one set of sequences, so that one run of the model and one store serve them all."""
    groups = np.array([one.group or f"#{number}" for number, one in enumerate(sequences)])
    reasons = {(key, one.name): _too_small(one, groups, least) for key, found in features.items() for one in found}
    kept = {key: [one for one in found if not reasons[key, one.name]] for key, found in features.items()}
    used: dict[int, set[int]] = {}
    for one in (feature for found in kept.values() for feature in found):
        for number, place in zip(one.sequence.tolist(), one.position.tolist(), strict=True):
            used.setdefault(number, set()).add(place)
    numbers = sorted(used)
    unused = {"sequences without a labelled row": len(sequences) - len(numbers)} if numbers else {}
    chosen = tuple(
        replace(sequences[old], keep=tuple(sorted(used[old]))) if sequences[old].pool == "each" else sequences[old]
        for old in numbers
    )
    renumbered = np.zeros(max(len(sequences), 1), dtype=np.int64)
    renumbered[numbers] = np.arange(len(numbers))
    return {
        key: Built(
            collection=key,
            context=context,
            sequences=chosen,
            features=tuple(replace(_in_order(one), sequence=renumbered[_in_order(one).sequence]) for one in found),
            skipped={one.name: reasons[key, one.name] for one in features[key] if reasons[key, one.name]},
            drops={reason: count for reason, count in {**drops, **unused}.items() if count},
            seed=seed,
            strata_kinds=strata_kinds,
        )
        for key, found in kept.items()
    }


def start_tokens(tokenizer: Any) -> SpecialTokens:
    """What goes around a sequence: what the tokenizer puts there, and its begin-of-text token where it has one that it
    does not put there itself.
    """
    found = special_tokens(tokenizer)
    begin = getattr(tokenizer, "bos_token_id", None)
    return SpecialTokens(before=(int(begin),), after=found.after) if not found.before and begin is not None else found


def identity(built: Built, tokenizer: Any) -> dict[str, Any]:
    """What a run depends on besides the model: plain values for a fingerprint."""
    return {
        "collection": built.collection,
        "context": built.context,
        "seed": built.seed,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "sequences": [[list(one.ids), one.group, list(one.keep or ()), one.pool] for one in built.sequences],
        "features": [
            [one.name, one.sequence.tolist(), one.position.tolist(), one.values.tolist()] for one in built.features
        ],
    }


def _too_small(feature: TokenFeature, groups: np.ndarray, least: int) -> str:
    for name, chosen in (("positives", feature.values), ("negatives", ~feature.values)):
        count, found = int(chosen.sum()), len(np.unique(groups[feature.sequence[chosen]]))
        needed = least if name == "positives" else LEAST_POSITIVES
        if count < needed or found < LEAST_GROUPS:
            return f"{count} {name} in {found} groups: at least {needed} in {LEAST_GROUPS} are needed"
    return ""


def _in_order(feature: TokenFeature) -> TokenFeature:
    order = np.lexsort((feature.position, feature.sequence))
    return replace(
        feature,
        sequence=feature.sequence[order],
        position=feature.position[order],
        values=feature.values[order],
        strata=tuple(feature.strata[place] for place in order.tolist()) if feature.strata else (),
    )
