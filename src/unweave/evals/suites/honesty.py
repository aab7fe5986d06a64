"""The study of a behaviour from contrast pairs, as a suite: honesty by default, any behaviour from a file.

study = directions of contrast pairs + what they do to whole continuations + first tokens beside them + schedules at equal
total dose + persistence after injection stops + entropy of the unembedding + components patched between the two prompts

| line of the file | what it is |
|---|---|
| `{"positive": .., "negative": .., "group": ..}` | a contrast pair |
| `{"prompt": .., "showing": .., "other": .., "group": ..}` | a prompt with a continuation that shows the behaviour and one that does not, equally many tokens |
| the same with `positive_prompt`, `negative_prompt` | and the prompt that asks for the behaviour or against it |
| `{"neutral": ..}` | text that has nothing to do with it: bounds the dose |

Source: arXiv 2402.03855.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unweave.activations.concepts import ContrastPair, read_records
from unweave.errors import InputError, nearest
from unweave.evals.causing.patching import patching, scores
from unweave.evals.causing.persistence import persistence
from unweave.evals.findings import codes_of
from unweave.evals.layer_study import LayerStudy, layer_study
from unweave.evals.suites.asked import Asked
from unweave.evals.suites.contrast import (
    PERSONAS,
    Continued,
    ContrastStudy,
    continued_tokens,
    contrast_study,
    honest_answers,
    honesty_pairs,
)
from unweave.evals.suites.files import json_lines
from unweave.evals.suites.parts import COMPONENTS, claims_of, patched_parts, sentence
from unweave.evals.suites.result import Claim, SuiteResult, SuiteRow
from unweave.evals.suites.tasks.behaviour import CARRYING, BehaviourTask
from unweave.evals.suites.testing import LEAST_DONE, cannot
from unweave.evals.suites.words import prompt_tokens, token_ids
from unweave.models.chats import written_chat
from unweave.models.model import Model
from unweave.tensors.grouped import grouped_mean

NEUTRAL = (
    "The train leaves at nine and arrives before noon.",
    "A bridge crosses the river near the old mill.",
    "Water boils sooner on a mountain than by the sea.",
    "She put the book on the table and closed the window.",
)
LEVEL = 0.05
"""At which a preference must differ from that of a coin."""


@dataclass(frozen=True, kw_only=True)
class BehaviourData:
    """What a study of a behaviour needs."""

    pairs: Sequence[ContrastPair]
    continued: Sequence[Continued]
    neutral: Sequence[str] = NEUTRAL


def run_honesty(model: Model | BehaviourTask, featurizer: Any, asked: Asked) -> SuiteResult:
    """The study at every layer.

    Args:
        model: A causal language model with a tokenizer, or the planted one.
        featurizer: None: directions come from the pairs.
        asked: A file of pairs and continuations, a site, how many of both.

    Raises:
        InputError: A featurizer, or a file that is not of such lines.
    """
    if featurizer is not None:
        raise InputError("suite 'honesty' finds its directions in contrast pairs: leave out the artifact")
    task = model if isinstance(model, BehaviourTask) else None
    loaded: Model = model.model if isinstance(model, BehaviourTask) else model
    sites = _sites(loaded, asked.site)
    data = read_behaviour(asked.data) if asked.data is not None else _built_in(loaded, task, asked.seed)
    data = replace(data, pairs=data.pairs[: asked.count], continued=data.continued[: asked.count])
    continued, groups = continued_tokens(loaded, data.continued)
    baseline = prompted(loaded, data.continued, groups, asked.seed)
    if baseline.note:
        return SuiteResult(suite="honesty", model=loaded.fingerprint, rows=(baseline,), seed=asked.seed)
    asked.progress.note(f"{len(data.pairs)} pairs, {len(data.continued)} continuations, {len(sites)} sites")
    read = layer_study(loaded, data.pairs, sites, method="mean_difference", seed=asked.seed)
    study = contrast_study(
        loaded, read.bundle, continued, neutral=prompt_tokens(loaded, data.neutral), groups=groups, seed=asked.seed
    )
    known = CARRYING if task is not None else {}
    parts = patched_parts(loaded, data.continued, named=known, seed=asked.seed)
    told, patched = (parts, ()) if isinstance(parts, str) else (sentence(parts), claims_of(parts, known))
    tables = _tables(read, study, persisting(loaded, read, study, continued, groups, asked.seed))
    return SuiteResult(
        suite="honesty", model=loaded.fingerprint, rows=(baseline,), seed=asked.seed,
        claims=(*_claims(study), *(task.claims(continued, groups, asked.seed) if task is not None else ()), *patched),
        tables=tables if isinstance(parts, str) else {**tables, COMPONENTS: tuple(parts.table())},
        warnings=(*read.warnings, *_warnings(study), told),
    )  # fmt: skip


def read_behaviour(path: str | Path) -> BehaviourData:
    """Pairs, continuations and neutral texts of a jsonl file.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, or a line is none of the three; the line is named.
    """
    pairs, continued, neutral = [], [], []
    for where, row in json_lines(path):
        if "prompt" in row:
            continued.append(_continued(row, where))
        elif set(row) == {"neutral"} and isinstance(row["neutral"], str):
            neutral.append(row["neutral"])
        elif "positive" in row:
            pairs += _pair(row, where)
        else:
            raise InputError(
                f"{where}: no pair (positive, negative), continuation (prompt, showing, other) or neutral text"
            )
    if not pairs or not continued:
        raise InputError(
            f"{path} has {len(pairs)} contrast pairs and {len(continued)} continuations: lines of both kinds are needed"
        )
    return BehaviourData(pairs=pairs, continued=continued, neutral=tuple(neutral) or NEUTRAL)


def prompted(model: Model, continued: Sequence[Continued], groups: Sequence[str], seed: int) -> SuiteRow:
    """What prompting alone does to the whole continuations, and whether the model shows the behaviour at all.

    It does if it prefers the showing continuation where it is asked for, or, without such prompts, where nothing is
    asked, in more groups than a coin would (one-sided, 5 %): a model that knows nothing prefers one of the two as well.

    Args:
        model: The model.
        continued: Prompts with their continuations.
        groups: The group of each.
        seed: Of the intervals.
    """
    plain = _preference(model, continued)
    asks = all(one.positive_prompt and one.negative_prompt for one in continued)
    sides = [
        _preference(model, [replace(one, prompt=getattr(one, side)) for one in continued])
        for side in (("positive_prompt", "negative_prompt") if asks else ())
    ]
    shown = (sides[0] if asks else plain) > 0
    codes = codes_of(np.array(groups), len(plain))
    done, chance = float(shown.mean()), by_chance(shown, codes)
    can = done >= LEAST_DONE and chance <= LEVEL
    why = "" if can else f"{cannot(done, 'continuations')}; a coin prefers half of them (p {chance:.2g})"
    return SuiteRow(
        test="prompt alone" if asks else "no instruction", measure="log-probability of the continuation",
        scope="sequence", site="-", n=len(plain), done=done, plain=grouped_mean(plain, codes, seed=seed),
        whole=grouped_mean(sides[0] - sides[1], codes, seed=seed) if asks and can else None, spreads=(), note=why,
    )  # fmt: skip


def by_chance(shown: Any, codes: Any) -> float:
    """The chance that a coin prefers the showing continuation in as many groups.

    Args:
        shown: Whether each continuation is preferred.
        codes: The group of each, numbered from 0.

    Example:
        >>> by_chance(np.ones(5, bool), np.arange(5))
        0.03125
    """
    from scipy.stats import binomtest

    share = np.bincount(codes, shown) / np.bincount(codes)
    return float(binomtest(int((share > 0.5).sum()), len(share), 0.5, alternative="greater").pvalue)


def persisting(
    model: Model,
    read: LayerStudy,
    study: ContrastStudy,
    continued: Any,
    groups: Sequence[str],
    seed: int,
) -> tuple[dict[str, Any], ...]:
    """How long the effect lasts at each site when injection stops halfway; empty for continuations under four tokens.

    Args:
        model: The model.
        read: Directions.
        study: Their doses.
        continued: Tokens, lengths and behaviour.
        groups: The group of each prompt.
        seed: Of the interval.
    """
    tokens, prompts, behaviour = continued
    longest = int((tokens.lengths() - torch.tensor(list(prompts))).min())
    if longest < 4:
        return ()
    rows = []
    for one in study.layers:
        details = one.sequence.details
        found = persistence(
            patching(model, one.site, tokens), read.bundle[one.site].normalised(), behaviour,
            dose=details["test_dose"] * details["one_dose"], prompts=list(prompts), stop=longest // 2, groups=groups,
            seed=seed,
        )  # fmt: skip
        life = found.half_life
        rows.append({"site": one.site, "stop": found.stop, "half-life": life.value, "low": life.low, "high": life.high})
    return tuple(rows)


def _preference(model: Model, continued: Sequence[Continued]) -> np.ndarray:
    (tokens, _, behaviour), _ = continued_tokens(model, continued)
    return scores(patching(model, _sites(model, None)[-1], tokens), [None], behaviour)[0]


def _built_in(model: Model, task: BehaviourTask | None, seed: int) -> BehaviourData:
    if task is not None:
        pairs, continued, neutral = task.texts(seed)
        return BehaviourData(pairs=pairs, continued=continued, neutral=neutral)
    asked, against = (_in_chat(model, persona) for persona in PERSONAS)
    answers = honest_answers(tokens_in=lambda text: len(token_ids(model, text)))
    pairs = [
        replace(
            one,
            positive=one.positive.replace(PERSONAS[0], asked, 1),
            negative=one.negative.replace(PERSONAS[1], against, 1),
        )
        for one in honesty_pairs()
    ]
    return BehaviourData(
        pairs=pairs,
        continued=[
            replace(one, positive_prompt=f"{asked} {one.prompt}", negative_prompt=f"{against} {one.prompt}")
            for one in answers
        ],
    )


def _in_chat(model: Model, persona: str) -> str:
    """The persona as the tokenizer's own chat template writes a user's turn; plain text where there is none."""
    if getattr(model.tokenizer, "chat_template", None) is None:
        return persona
    text = written_chat(model.tokenizer, [{"role": "user", "content": persona}])
    return text.removeprefix(model.tokenizer.bos_token or "")


def _sites(model: Model, site: str | None) -> list[str]:
    names = [str(one) for one in model.sites()]
    stream = [one for one in names if one.endswith(".resid_post")]
    if not model.predicts_next or not stream:
        raise InputError(f"{model.name or 'this model'} predicts no next token: a causal language model is needed")
    return stream if site is None else [site]


def _continued(row: dict[str, Any], where: str) -> Continued:
    known = [one.name for one in fields(Continued)]
    strange = [key for key in row if key not in known]
    if strange:
        near = nearest(strange[0], known)
        raise InputError(f"{where}: unknown key {strange[0]!r}{f'; nearest: {near[0]!r}' if near else ''}")
    missing = [key for key in ("prompt", "showing", "other") if not isinstance(row.get(key), str) or not row[key]]
    if missing:
        raise InputError(f"{where}: no text under {', '.join(missing)}")
    return Continued(**{key: str(value) for key, value in row.items()})


def _pair(row: dict[str, Any], where: str) -> list[ContrastPair]:
    try:
        return read_records([row])
    except InputError as error:
        raise InputError(f"{where}: {str(error).replace('record 0', 'the pair')}") from None


def _claims(study: ContrastStudy) -> tuple[Claim, ...]:
    return tuple(
        Claim(about=f"the direction of {one.site} writes the behaviour ({kind})", site=one.site, expected=None,
              finding=found)
        for one in study.layers
        for kind, found in (("whole continuation", one.sequence), ("first token", one.first))
    )  # fmt: skip


def _tables(read: LayerStudy, study: ContrastStudy, persist: Sequence[dict[str, Any]]) -> dict[str, Any]:
    words = [
        {
            "site": one.site, "reads": one.score.value, "low": one.score.low, "high": one.score.high,
            "p (Holm)": one.p_holm, "entropy percentile": one.words.normed.percentile if one.words else None,
        }
        for one in read.layers
    ]  # fmt: skip
    schedules = [
        {
            "schedule": row["schedule"], "injected share": row["injected_share"], "effect": row["effect"].value,
            "low": row["effect"].low, "high": row["effect"].high,
        }
        for row in study.schedules
    ]  # fmt: skip
    first = [
        {
            "site": one.site, "whole continuation": one.sequence.verdict.value, "first token": one.first.verdict.value,
            "misled": one.misled,
        }
        for one in study.layers
    ]  # fmt: skip
    found = {
        "reading, held-out groups": tuple(words),
        "first tokens against whole continuations": tuple(first),
        f"schedules at equal total dose, {study.best}, chosen on other groups": tuple(schedules),
    }
    return found | ({"persistence after injection stops, tokens": tuple(persist)} if persist else {})


def _warnings(study: ContrastStudy) -> tuple[str, ...]:
    """Whether continual injection does better than every front-loaded one, which is what the seed paper says."""
    rows = {row["schedule"]: row["effect"] for row in study.schedules}
    early = [name for name in ("prompt", "first:1") if name in rows]
    if "always" not in rows or not early:
        return ()
    above = all(rows["always"].low > rows[name].high for name in early)
    told = ", ".join(f"{name} {rows[name].value:.3g}" for name in ("always", *early))
    return (
        f"continual injection does {'' if above else 'not '}do better than every front-loaded schedule at equal total"
        f" dose ({told} nats a token)",
    )
