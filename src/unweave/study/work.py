"""What the steps of a study share: the configuration, one model with its store and features, and the folder that keeps
what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from unweave.activations.labels import LabelledFeature, read_labels
from unweave.activations.store import ActivationStore, open_store
from unweave.activations.token_strings import token_string_features
from unweave.artifact import load, save
from unweave.errors import InputError
from unweave.log import Progress
from unweave.models.model import Model
from unweave.report.record import Card, Figure, Record, Table
from unweave.site import Site
from unweave.study.config import StudyConfig
from unweave.study.texts import StudyText

STORE = "store"


class NotPossible(Exception):
    """Raised by a step that this model, text or labelling gives nothing to work on; the message goes into the
    report.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a step gives: words and figures for people, values for programs, artifacts for later steps."""

    summary: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()
    warnings: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)

    def record(self, step: str, model: str, title: str, key: str) -> Record:
        """As it is kept in the run."""
        return Record(
            step=step,
            model=model,
            title=title,
            key=key,
            summary=self.summary,
            figures=self.figures,
            tables=self.tables,
            cards=self.cards,
            warnings=self.warnings,
            results=dict(self.results),
        )


@dataclass(eq=False, kw_only=True)
class Work:
    """One model of a study on its way through the steps."""

    config: StudyConfig
    model: Model
    text: StudyText
    folder: Path
    """`models/NAME` of the run."""
    sites: tuple[Site, ...]
    """The sites of this model that the patterns name."""
    progress: Progress
    _artifacts: dict[tuple[str, str], Any] = field(default_factory=dict)

    @cached_property
    def store(self) -> ActivationStore:
        """The collected activations."""
        return open_store(self.folder / STORE)

    @cached_property
    def features(self) -> list[LabelledFeature]:
        """The labelled features of the store's rows."""
        if self.config.labels is not None:
            return read_labels(self.config.labels, self.store)
        return token_string_features(self.store, self.model.tokenizer)

    @property
    def middle(self) -> Site:
        """The site at which bases are compared: the middle one of those studied."""
        return self.sites[len(self.sites) // 2]

    def keep(self, step: str, artifacts: Mapping[str, Any]) -> None:
        """Saves the artifacts of a step."""
        for name, value in artifacts.items():
            save(value, self.folder / step / name)
            self._artifacts[step, name] = value

    def artifact(self, step: str, name: str) -> Any:
        """An artifact of an earlier step.

        Raises:
            NotPossible: The earlier step had nothing to work on.
        """
        if (step, name) not in self._artifacts:
            if not (self.folder / step / name).exists():
                raise NotPossible(f"Not done: it needs what the step {step!r} could not give.")
            self._artifacts[step, name] = load(self.folder / step / name)
        return self._artifacts[step, name]

    def label_of(self, feature: str) -> str:
        """A feature as figures show it: marked where a note goes with it."""
        noted = any(one.name == feature and one.note for one in self.features)
        return f"{feature} (hidden)" if noted else feature

    def title_of(self, site: str) -> str:
        """A site as figures show it."""
        return str(site).removeprefix("blocks.")


def need_tokens(work: Work) -> None:
    """Raises unless the model reads text."""
    if work.model.family is None or work.model.tokenizer is None:
        raise InputError(
            f"{work.model.name} cannot be studied on text: a transformer of a known family with a tokenizer is needed;"
            " collect and probe its tensors in Python"
        )
