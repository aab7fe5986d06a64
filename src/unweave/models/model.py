"""`Model`: a module with its family row, tokenizer and name, and the verbs that read and change its forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from unweave.errors import InputError
from unweave.models import capture as capturing
from unweave.models import edits as editing
from unweave.models import fingerprints, generation, offloaded, points
from unweave.models import tokens as tokenizing
from unweave.models.families import Family
from unweave.site import Site

if TYPE_CHECKING:
    from unweave.models.sections import Section


@dataclass(eq=False)
class ModelState:
    """What a model remembers between calls."""

    runs_once: set[Site] = field(default_factory=set)
    """Module paths seen to run once in a forward pass."""
    active_edits: int = 0
    fingerprint: tuple[Any, str] | None = None
    """State of the weights, and their fingerprint."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A neural network whose activations have names. `uw.load_model` makes one.

    Example:
        >>> from unweave.models.loading import load_model
        >>> model = load_model(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
        >>> model.capture(torch.ones(4, 3), ["1"])["1"].shape
        torch.Size([4, 5])
    """

    module: nn.Module
    """The module itself; its weights are never changed."""
    family: Family | None
    """The adapter row, None for a plain module."""
    tokenizer: Any = None
    name: str = ""
    """What to call it in a report."""
    state: ModelState = field(default_factory=ModelState, repr=False)

    def __call__(self, tokens: Any) -> Any:
        """Logits, or the last hidden state of a model without a head; a plain module's own output."""
        self.check_ready()
        output = capturing.run(self, tokens)
        if self.family is None:
            return output
        named = (getattr(output, name, None) for name in ("logits", "prediction_logits", "last_hidden_state"))
        found = next((value for value in named if value is not None), None)
        # a head with outputs of other names, such as the two ends of a span, has a body all the same
        return capturing.run(self, tokens, body_only=True).last_hidden_state if found is None else found

    def sites(self) -> list[Site]:
        """All sites by name; module paths of a transformer (`transformer.h.0.mlp`) are accepted besides."""
        return points.site_names(self.module, self.family)

    def width(self, site: str) -> int:
        """The number of values a row has at the site."""
        return points.width_of(self.module, self.family, site)

    def tokenize(self, texts: Sequence[str] | str, *, side: str = "right") -> tokenizing.Tokens:
        """A padded batch of token ids, one row a text; see `unweave.models.tokens.tokenize`."""
        return tokenizing.tokenize(self.tokenizer, texts, side=side)

    def tokenize_chats(self, chats: Any, *, answer_next: bool = True, side: str = "right") -> tokenizing.Tokens:
        """Conversations as the tokenizer's own template writes them; see `unweave.models.chats.tokenize_chats`."""
        from unweave.models import chats as chatting

        return chatting.tokenize_chats(self.tokenizer, chats, answer_next=answer_next, side=side)

    def capture(self, tokens: Any, sites: Sequence[str] | str, *, device: str | None = "cpu") -> dict[str, Tensor]:
        """Copies of the activations at the sites; see `unweave.models.capture.capture`."""
        return capturing.capture(self, tokens, sites, device=device)

    def edit(self, edits: Any) -> AbstractContextManager[Model]:
        """A context in which every forward pass is edited: an `Edit`, a list of them, or `{site: f(h) -> h}`.

        Example:
            >>> from unweave.models.loading import load_model
            >>> model = load_model(nn.Sequential(nn.Linear(3, 5), nn.ReLU()))
            >>> with model.edit({"1": torch.zeros_like}):
            ...     float(model(torch.ones(1, 3)).sum())
            0.0
        """
        return editing.edited(self, edits)

    def generate(
        self,
        tokens: Any,
        max_new_tokens: int,
        *,
        sample: bool = False,
        temperature: float = 1.0,
        seed: int = 0,
        use_cache: bool = True,
    ) -> Any:
        """Prompt and continuation; see `unweave.models.generation.generate`."""
        return generation.generate(
            self, tokens, max_new_tokens, sample=sample, temperature=temperature, seed=seed, use_cache=use_cache
        )

    def section(self, site_in: Any, site_out: Any, *, positions: str = "all") -> Section:
        """The model between two node layers as a pure function; see `unweave.models.sections.section`."""
        from unweave.models import sections

        return sections.section(self, site_in, site_out, positions=positions)

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

    def __repr__(self) -> str:
        """Name, class and number of parameters."""
        count = sum(parameter.numel() for parameter in self.module.parameters())
        return f"Model({self.name}, {type(self.module).__name__}, {count:,} parameters)"
