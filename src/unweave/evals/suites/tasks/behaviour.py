"""`planted_behaviour`: the tiny language model with a planted style, with words, contrast pairs and continuations, so
that the study of a behaviour runs on it as on a chat model and its answer is known. One head carries the behaviour; the
other heads, the MLPs and the second layer carry what goes with it to where nothing reads it.

Continuations begin in the wrong style: what a first token says about the behaviour is then the opposite of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.concepts import ContrastPair
from unweave.evals.causing.patching import patching
from unweave.evals.causing.steering import steering
from unweave.evals.planted.language import NEUTRAL, STYLE_START, TAG_AGAINST, TAG_FOR, WORDS, StyleWorld, style_world
from unweave.evals.suites.contrast import Continued
from unweave.evals.suites.result import Claim
from unweave.models.loading import load_model
from unweave.models.model import Model

PAIRS, PROMPTS, LENGTH = 40, 24, 8
STREAM, BEHIND = "blocks.0.resid_pre", "blocks.0.resid_post"
CARRYING: Mapping[str, bool] = MappingProxyType(
    {
        "blocks.0.attn_out": True, "blocks.0.attn_z head 0": True, "blocks.0.attn_z head 1": False,
        "blocks.0.mlp_out": False, "blocks.1.attn_out": False, "blocks.1.mlp_out": False,
    }
)  # fmt: skip
"""Component -> whether it carries the behaviour."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BehaviourTask:
    """The style world with words."""

    world: StyleWorld
    model: Model
    name: str = "honesty"
    """Of the suite that it is for."""

    def texts(self, seed: int) -> tuple[list[ContrastPair], list[Continued], list[str]]:
        """(pairs, continuations, neutral texts).

        Args:
            seed: Of the words.
        """
        rng = np.random.default_rng([seed, 73])
        pairs = []
        for number in range(PAIRS):
            texts = [self._words(rng, NEUTRAL, 3) for _ in range(1)]
            pairs.append(
                ContrastPair(
                    positive=f"{NAMES[TAG_FOR]} {texts[0]}", negative=f"{NAMES[TAG_AGAINST]} {texts[0]}",
                    group=str(number),
                )
            )  # fmt: skip
        continued = []
        for number in range(PROMPTS):
            prompt = self._words(rng, NEUTRAL, 3)
            shows, other = (
                f" {self._words(rng, wrong, 1)} {self._words(rng, own, LENGTH - 1)}"
                for own, wrong in ((STYLE_START, STYLE_START + WORDS), (STYLE_START + WORDS, STYLE_START))
            )
            continued.append(
                Continued(
                    prompt=f"{NAMES[NEUTRAL]} {prompt}", showing=shows, other=other, group=str(number),
                    positive_prompt=f"{NAMES[TAG_FOR]} {prompt}", negative_prompt=f"{NAMES[TAG_AGAINST]} {prompt}",
                )
            )  # fmt: skip
        return pairs, continued, [self._words(rng, NEUTRAL, 8) for _ in range(4)]

    def claims(self, continued: Any, groups: Sequence[str], seed: int) -> tuple[Claim, ...]:
        """The true directions write the behaviour, the decoy does not, and a first token claims the reverse.

        Args:
            continued: Tokens, lengths of the prompts, behaviour.
            groups: The group of each prompt.
            seed: Of controls and intervals.
        """
        tokens, prompts, behaviour = continued
        rows = (
            ("planted style, before the head", STREAM, self.world.style, True),
            ("planted memory, behind the head", BEHIND, self.world.memory, True),
            ("decoy that goes with the style", STREAM, self.world.topic, False),
            ("the reverse of the memory", BEHIND, -self.world.memory, False),
        )
        found = []
        for about, site, vector, expected in rows:
            effect = steering(
                patching(self.model, site, tokens), vector, behaviour, doses=(-1, 0, 1), unit="raw",
                prompts=list(prompts), groups=groups, seed=seed,
            )  # fmt: skip
            found.append(Claim(about=f"{about} (whole continuation)", site=site, expected=expected, finding=effect))
        return tuple(found)

    @staticmethod
    def _words(rng: np.random.Generator, first: int, count: int) -> str:
        return " ".join(NAMES[first + int(one)] for one in rng.integers(0, WORDS, count))


NAMES = (
    "calm", "wild", *(f"thing{number}" for number in range(WORDS)), *(f"soft{number}" for number in range(WORDS)),
    *(f"loud{number}" for number in range(WORDS)),
)  # fmt: skip
"""Words of the ids of the style world: the two tags, neutral words, words of the style and of the other."""


def planted_behaviour(*, seed: int = 0) -> BehaviourTask:
    """The tiny language model with a planted style and a tokenizer of its words.

    Args:
        seed: Of the directions of its variables.

    Example:
        >>> planted_behaviour().texts(0)[1][0].prompt.split()[0]
        'thing0'
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    world = style_world(seed=seed, decoys=True)
    known = {name: number for number, name in enumerate(NAMES)}
    words = Tokenizer(models.WordLevel(vocab=known, unk_token=NAMES[NEUTRAL]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token=NAMES[NEUTRAL])
    model = load_model(world.model.module, tokenizer=tokenizer, name="planted behaviour")
    return BehaviourTask(world=world, model=model)
