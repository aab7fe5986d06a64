"""A card for the neurons that tell a feature best: what their weights say, when they fire, what the label
misses.
"""

from __future__ import annotations

from unweave.errors import DataError
from unweave.evals.neuron_card import NeuronCard, neuron_card
from unweave.probing.evidence import Evidence
from unweave.probing.result import ProbeTable
from unweave.probing.sampling import draw
from unweave.report.record import Card
from unweave.study.cards import shown_card
from unweave.study.work import Found, NotPossible, Work

MOST_CARDS = 3
EACH = 6
"""Contexts of each kind."""


def write_cards(work: Work) -> Found:
    """Cards of the best neurons of a few features, one a neuron."""
    table: ProbeTable = work.artifact("probe", "probes")
    found: Evidence = work.artifact("controls", "evidence")
    cards: list[Card] = []
    artifacts: dict[str, NeuronCard] = {}
    sampled = {one.name: one for one in draw(work.store, work.features, table.config).features}
    for name in _clearest(found):
        winner = found.of(name).winner
        feature = sampled[name]  # the rows of the probes: F1 depends on how many of them are positive
        if feature.level != "token" or any(
            (one.site, one.unit) == (winner.site, winner.unit) for one in artifacts.values()
        ):
            continue
        try:
            card = neuron_card(
                work.model, work.store, winner.site, winner.unit, feature=feature, held_out=table.held_out,
                search=found.search, each=EACH, seed=work.config.seed,
            )  # fmt: skip
        except DataError:
            continue
        artifacts[f"card-{len(cards)}"] = card
        documents = 0 if card.probe is None else card.probe.f1.n_groups
        cards.append(shown_card(card, label=work.label_of(name), seed=work.config.seed, documents=documents))
        if len(cards) == MOST_CARDS:
            break
    if not cards:
        raise NotPossible("Not done: no feature of tokens has a neuron to show.")
    results = {"cards": [{"site": one.site, "unit": one.unit, "feature": one.feature} for one in artifacts.values()]}
    return Found(cards=tuple(cards), results=results, artifacts=artifacts)


def _clearest(found: Evidence) -> list[str]:
    """Features by how far apart the classes are at their chosen neuron, on training documents."""
    strength = {}
    for one in found.features:
        place = (one.feature, one.winner.site, one.winner.unit)
        strength[one.feature] = max(
            (abs(unit.t) for unit in found.search.best if (unit.feature, unit.site, unit.unit) == place), default=0.0
        )
    return sorted(strength, key=lambda name: -strength[name])
