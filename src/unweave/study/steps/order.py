"""The list of steps. A method joins the study by an entry here: a name, a title, what it needs, and a function from
`Work` to `Found`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unweave.study.steps.ablate import ablate_units
from unweave.study.steps.bases import compare_bases
from unweave.study.steps.cards import write_cards
from unweave.study.steps.collect import collect_rows
from unweave.study.steps.controls import weigh_controls
from unweave.study.steps.directions import read_and_write
from unweave.study.steps.evidence import weigh_evidence
from unweave.study.steps.interaction import interaction_graph
from unweave.study.steps.labels import describe_labels
from unweave.study.steps.partition import part_space
from unweave.study.steps.probe import probe_sites
from unweave.study.steps.superposition import share_space
from unweave.study.work import Found, Work


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that every model of a study goes through."""

    name: str
    """Folder of its results."""
    title: str
    """Heading of its section."""
    run: Callable[[Work], Found]
    uses: tuple[str, ...] = ()
    """Keys of the configuration that its result depends on, besides what earlier steps depend on."""
    version: int = 1
    """Raised when the step computes something else: earlier results of it are then not reused."""


STEPS: tuple[Step, ...] = (
    Step(name="collect", title="Activations", run=collect_rows, uses=("sites", "context", "dtype")),
    Step(name="labels", title="Features", run=describe_labels, uses=("labels",)),
    Step(
        name="probe",
        title="Which neurons carry which features",
        run=probe_sites,
        uses=("ks", "rows", "selector", "shuffles", "bootstrap", "test", "seed"),
    ),
    Step(name="controls", title="What the scores are worth", run=weigh_controls),
    Step(name="cards", title="Neurons in their own words", run=write_cards),
    Step(name="bases", title="Neurons, principal components, a random rotation", run=compare_bases),
    Step(name="partition", title="Subspaces of the residual stream", run=part_space),
    Step(name="directions", title="Reading and writing a feature", run=read_and_write),
    Step(
        name="ablate",
        title="What the units do",
        run=ablate_units,
        uses=("ablation",),
    ),
    Step(name="interaction", title="The interaction graph of the last layer", run=interaction_graph),
    Step(name="evidence", title="The evidence for one representation", run=weigh_evidence),
    Step(name="superposition", title="How the words of the text share space", run=share_space, uses=("seed",)),
)
"""In order; a step may use the artifacts of those before it."""
