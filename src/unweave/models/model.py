"""`Model`: a module with its family row, tokenizer and name, and the verbs that read and change its forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from unweave.models import capture as capturing
from unweave.models import edits as editing
from unweave.models import generation
from unweave.models import tokens as tokenizing
from unweave.models.body import Body

if TYPE_CHECKING:
    from unweave.models.sections import Section


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Body):
    """A neural network whose activations have names. `uw.load_model` makes one.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from unweave.models.loading import load_model
        >>> model = load_model(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
        >>> model.capture(torch.ones(4, 3), ["1"])["1"].shape
        torch.Size([4, 5])
    """

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
            >>> import torch
            >>> from torch import nn
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

    def __repr__(self) -> str:
        """Name, class and number of parameters."""
        count = sum(parameter.numel() for parameter in self.module.parameters())
        return f"Model({self.name}, {type(self.module).__name__}, {count:,} parameters)"
