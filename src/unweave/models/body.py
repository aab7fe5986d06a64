"""`Body`: a module with its family row, tokenizer and name, and the facts that follow from them.

`Model` adds the verbs. What implements those verbs (capture, edits, sections, generation) asks for a `Body` alone, so
that nothing below `Model` needs to know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from unweave.errors import InputError
from unweave.models import fingerprints, offloaded, points
from unweave.models import tokens as tokenizing
from unweave.models.families import Family
from unweave.site import Site


@dataclass(eq=False)
class ModelState:
    """What a model remembers between calls."""

    runs_once: set[Site] = field(default_factory=set)
    """Module paths seen to run once in a forward pass."""
    active_edits: int = 0
    fingerprint: tuple[Any, str] | None = None
    """State of the weights, and their fingerprint."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Body:
    """What is known of a network without running it."""

    module: nn.Module
    """The module itself; its weights are never changed."""
    family: Family | None
    """The adapter row, None for a plain module."""
    tokenizer: Any = None
    name: str = ""
    """What to call it in a report."""
    state: ModelState = field(default_factory=ModelState, repr=False)

    def sites(self) -> list[Site]:
        """All sites by name; module paths of a transformer (`transformer.h.0.mlp`) are accepted besides."""
        return points.site_names(self.module, self.family)

    def width(self, site: str) -> int:
        """The number of values a row has at the site."""
        return points.width_of(self.module, self.family, site)

    def tokenize(self, texts: Sequence[str] | str, *, side: str = "right") -> tokenizing.Tokens:
        """A padded batch of token ids, one row a text; see `unweave.models.tokens.tokenize`."""
        return tokenizing.tokenize(self.tokenizer, texts, side=side)

    @property
    def fingerprint(self) -> str:
        """sha256 over configuration and weights."""
        now = fingerprints.weights_state(self.module)
        if self.state.fingerprint is None or self.state.fingerprint[0] != now:
            self.state.fingerprint = (now, fingerprints.model_fingerprint(self.module))
        return self.state.fingerprint[1]

    @property
    def device(self) -> torch.device:
        """Where the first weight lies, or where it is brought for a pass if it is offloaded."""
        return offloaded.input_device(self.module)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the first weight."""
        weight = next(self.module.parameters(), None)
        return torch.float32 if weight is None else weight.dtype

    @property
    def vocabulary_size(self) -> int | None:
        """Number of token ids the embedding has, None for plain modules."""
        return None if self.family is None else len(cast(Any, self.module).get_input_embeddings().weight)

    @property
    def context(self) -> int | None:
        """Longest sequence the model takes, None where there is no limit."""
        if self.family is None:
            return None
        return getattr(cast(Any, self.module).config.get_text_config(), "max_position_embeddings", None)

    @property
    def has_logits(self) -> bool:
        """Whether a call gives scores over the vocabulary."""
        return self.family is not None and points.has_logits(self.module)

    @property
    def predicts_next(self) -> bool:
        """Whether the logits at a position are about the next token."""
        return self.has_logits and self.family is not None and self.family.causal

    def check_ready(self) -> None:
        """Raises if the module is in training mode: dropout would make every number random."""
        if self.module.training:
            raise InputError("the model is in training mode, its dropout is on: call model.module.eval() first")
