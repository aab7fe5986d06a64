"""How the `docs` language models are made: one corpus, one tokenizer, one recipe, a size a name.

The architecture is transformers' own Llama, so that the weights load through the ordinary adapter. Llama has no dropout
on its residual branches, which a half-megabyte corpus read two dozen times needs; hooks add it during training and are
gone afterwards (not on the attention weights: that leaves the fused kernel and doubles the time). Weights ship as
float16, and every number of `zoo.json` is measured on the rounded weights.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from unweave.artifact import fingerprint
from unweave.engine.memory import give_back
from unweave.files import write_text
from unweave.log import SILENT, Progress
from unweave.models.quiet import quiet_transformers
from unweave.models.zoo import corpus, kneser_ney
from unweave.models.zoo.resuming import Training, set_rate
from unweave.models.zoo.tokenizer import train_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Size and schedule of one model; the corpus and the tokenizer are the same for all."""

    name: str
    width: int
    depth: int
    heads: int
    key_value_heads: int
    mlp_width: int
    vocabulary_size: int = 2048
    context: int = 256
    batch: int = 16
    epochs: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.2
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the large products; weights, norms and the loss are kept in float32 where it is bfloat16."""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="docs-xs", width=96, depth=4, heads=3, key_value_heads=3, mlp_width=256),
        Recipe(name="docs-s", width=192, depth=6, heads=6, key_value_heads=3, mlp_width=512),
        Recipe(name="docs-m", width=288, depth=8, heads=9, key_value_heads=3, mlp_width=768, precision="bfloat16"),
    )
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What a recipe is trained on, and scored on once."""

    documents: tuple[corpus.Document, ...]
    """To train on."""
    held_out_documents: tuple[corpus.Document, ...]
    tokenizer: PreTrainedTokenizerFast
    start: int
    """The token that every window begins with."""
    training: list[list[int]]
    """Token ids of the documents."""
    held_out: list[list[int]]


def prepared(recipe: Recipe) -> Prepared:
    """The corpus, split, and in the tokens of a tokenizer trained on its training part."""
    documents = corpus.documentation()
    training = tuple(document for document in documents if not corpus.is_held_out(document.name))
    held_out = tuple(document for document in documents if corpus.is_held_out(document.name))
    tokenizer = train_tokenizer((document.text for document in training), vocabulary_size=recipe.vocabulary_size)
    training_ids, held_out_ids = (
        [tokenizer(document.text, add_special_tokens=False)["input_ids"] for document in part]
        for part in (training, held_out)
    )
    return Prepared(
        documents=training,
        held_out_documents=held_out,
        tokenizer=tokenizer,
        start=cast(int, tokenizer.bos_token_id),
        training=training_ids,
        held_out=held_out_ids,
    )


def train(recipe: Recipe, out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Trains the model, writes weights, tokenizer and `zoo.json` into `out`, and returns the facts of `zoo.json`.

    A training that was cut short goes on from its last finished epoch. Held-out documents are touched once, at the end;
    nothing is chosen on them.

    Raises:
        InputError: `out` keeps the state of another training.
    """
    import torch

    ready = prepared(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build(recipe, ready.tokenizer)
        training_state = fit(model, ready.training, recipe, start=ready.start, folder=out, progress=progress)
    give_back()  # what the training held would else stand beside the counts of the 5-gram
    model = model.half().float()
    facts = {
        "name": recipe.name,
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "python": platform.python_version(),
        "training_sha256": corpus.sha256_of(ready.documents),
        "training_documents": len(ready.documents),
        "training_tokens": sum(map(len, ready.training)),
        "held_out": sorted(document.name for document in ready.held_out_documents),
        "vocabulary_size": len(ready.tokenizer),
    }
    held_out_bytes = sum(len(document.text.encode()) for document in ready.held_out_documents)
    facts |= held_out_losses(model, recipe, ready.training, ready.held_out, held_out_bytes, start=ready.start)
    out.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        model.half().save_pretrained(out)
    ready.tokenizer.save_pretrained(out)
    write_text(out / "zoo.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    training_state.finish()
    return facts


def build(recipe: Recipe, tokenizer: Any) -> LlamaForCausalLM:
    """The untrained model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=recipe.vocabulary_size,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        intermediate_size=recipe.mlp_width,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def fit(
    model: LlamaForCausalLM,
    documents: Sequence[Sequence[int]],
    recipe: Recipe,
    *,
    start: int,
    folder: Path | None = None,
    progress: Progress = SILENT,
) -> Training:
    """AdamW with warm-up and cosine decay on next-token cross entropy; the model is changed in place and left in
    evaluation mode. With a folder, the state of every finished epoch is kept there, and one that is there already is
    taken up.
    """
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    steps_an_epoch = math.ceil(
        sum(math.ceil(len(document) / (recipe.context - 1)) for document in documents) / recipe.batch
    )
    total = steps_an_epoch * recipe.epochs  # of the schedule; the random phases of windows make a few more of them
    optimiser = torch.optim.AdamW(_decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    training = Training(
        module=model,
        optimiser=optimiser,
        generators={"of windows": generator, "of dropout": torch.default_generator},
        folder=folder,
        purpose={"recipe": asdict(recipe), "tokens": fingerprint([list(document) for document in documents])},
    )
    epochs, step = training.resume()
    handles = _dropout_hooks(model, recipe.dropout)
    model.train()
    with progress.task(f"train {recipe.name}", step_count(documents, recipe, start), "step") as advance:
        advance(step)
        for epoch in range(epochs, recipe.epochs):
            windows = _windows(documents, recipe.context, start, generator)
            for first in range(0, len(windows), recipe.batch):
                set_rate(optimiser, recipe.learning_rate * _share(step, total))
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    loss = _mean_loss(model, windows[first : first + recipe.batch])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                step += 1
                advance(1)
            training.save(epoch + 1, step)
    model.eval()
    for handle in handles:
        handle.remove()
    return training


def _share(step: int, total: int) -> float:
    """Of the highest learning rate: 200 steps up, then a cosine down to a hundredth."""
    return min((step + 1) / 200, 0.5 * (1.02 + math.cos(math.pi * step / total)))


def token_losses(model: LlamaForCausalLM, document: Sequence[int], *, context: int, start: int) -> list[float]:
    """-log P in nats of every token of a document, each predicted from at least half a context where the document has
    it.
    """
    import torch

    losses: list[float] = []
    half = context // 2
    for first in range(0, len(document), half):
        begin = max(0, first - half)
        ids = torch.tensor([[start, *document[begin : first + half]]])
        with torch.no_grad():
            logits = model(input_ids=ids[:, :-1]).logits[0]
        every = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="none")
        losses += every[first - begin :].tolist()
    return losses


def held_out_losses(
    model: LlamaForCausalLM,
    recipe: Recipe,
    training: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    held_out_bytes: int,
    *,
    start: int,
) -> dict[str, int | float]:
    """Loss of the model and of the 5-gram on the same held-out tokens, in nats a token and bits a byte."""
    ours = [loss for ids in held_out for loss in token_losses(model, ids, context=recipe.context, start=start)]
    grams = kneser_ney.fit(training, vocabulary_size=recipe.vocabulary_size, start=start)
    theirs, count = kneser_ney.nats(grams, held_out)
    if count != len(ours):
        raise RuntimeError(f"the model scored {len(ours)} tokens and the 5-gram {count}: both must see the same")
    bits = 1 / math.log(2) / held_out_bytes
    return {
        "held_out_tokens": count,
        "loss_nats_a_token": math.fsum(ours) / count,
        "loss_5gram_nats_a_token": theirs / count,
        "bits_a_byte": math.fsum(ours) * bits,
        "bits_a_byte_5gram": theirs * bits,
    }


def _windows(documents: Sequence[Sequence[int]], context: int, start: int, generator: torch.Generator) -> list[Tensor]:
    """All documents cut into windows at a random phase, in random order: an epoch sees every token once, each time in
    another place.
    """
    import torch

    windows = []
    for document in documents:
        phase = int(torch.randint(context - 1, (1,), generator=generator))
        cuts = [0, *range(phase, len(document), context - 1), len(document)]
        pieces = [document[a:b] for a, b in pairwise(cuts) if b > a]
        windows += [torch.tensor([start, *piece]) for piece in pieces]
    order = torch.randperm(len(windows), generator=generator).tolist()
    return [windows[i] for i in order]


def step_count(documents: Sequence[Sequence[int]], recipe: Recipe, start: int) -> int:
    """Of all epochs, by cutting the windows as the training will."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    epochs = (_windows(documents, recipe.context, start, generator) for _ in range(recipe.epochs))
    return sum(math.ceil(len(windows) / recipe.batch) for windows in epochs)


def _mean_loss(model: nn.Module, windows: Sequence[Tensor]) -> Tensor:
    import torch

    ids = torch.nn.utils.rnn.pad_sequence(list(windows), batch_first=True, padding_value=-100)
    logits = model(input_ids=ids[:, :-1].clamp_min(0)).logits  # right padding: a causal model never looks at it
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=-100)


def _decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _dropout_hooks(model: LlamaForCausalLM, rate: float) -> list[torch.utils.hooks.RemovableHandle]:
    from torch.nn.functional import dropout

    def drop(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return dropout(output, rate)

    branches = [
        linear for layer in cast(Any, model.model.layers) for linear in (layer.self_attn.o_proj, layer.mlp.down_proj)
    ]
    return [module.register_forward_hook(drop) for module in [model.model.embed_tokens, *branches]]
