"""`interpretation`: whether somebody's words for a unit tell where it is active on documents that they were not written
from (E27).

interpretation = an explanation of the strongest passages + detection and fuzzing of held-out ones + the same with an
explanation of shuffled passages

Who explains and who answers is given: a language model, a person, a rule. Detection asks of whole passages, half of
them with the unit active; fuzzing asks of active passages whether the marked tokens are the right ones, half of them
marked elsewhere.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `detection`, `fuzzing` | mean 1[answer = truth] | share | both answers alike often true: 1/2 is chance | specs/evaluation.md, E27; Paulo et al. 2024 (arXiv 2410.13928), section 4 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.evals.contexts import Context
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.splits import chosen_on, grouping

LEAST = 4
"""Fewer passages of a kind on either side say nothing."""
SHUFFLES = 999


@runtime_checkable
class Interpreter(Protocol):
    """Who explains a unit and answers by the explanation."""

    def explain(self, passages: Sequence[str]) -> str:
        """Words for what the tokens between << and >> have in common.

        Args:
            passages: Those on which the unit is strongest, active tokens marked.
        """
        ...

    def detect(self, explanation: str, passages: Sequence[str]) -> Sequence[bool]:
        """Whether each passage holds what the explanation says.

        Args:
            explanation: What `explain` said.
            passages: Nothing is marked.
        """
        ...

    def fuzz(self, explanation: str, passages: Sequence[str]) -> Sequence[bool]:
        """Whether the marked tokens of each passage are what the explanation says.

        Args:
            explanation: What `explain` said.
            passages: Tokens are marked, rightly or not.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """What an explanation is worth."""

    explanation: str
    detection: Estimate
    """Share of held-out passages answered rightly; its control is that of an explanation of shuffled passages, its
    p-value the rank among shuffled truths.
    """
    fuzzing: Estimate
    """The same for marked passages."""
    shown: int
    """Passages that were explained."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        found: dict[str, Any] = {"explanation": self.explanation, "shown": self.shown}
        for name, one in (("detection", self.detection), ("fuzzing", self.fuzzing)):
            found |= {
                name: one.value, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_control": one.control,
                f"{name}_p": one.p_value, f"{name}_n": one.n,
            }  # fmt: skip
        return found

    def __repr__(self) -> str:
        """Both shares and the words."""
        return (
            f"Interpretation(detection {self.detection.value:.2f}, fuzzing {self.fuzzing.value:.2f},"
            f" {self.explanation[:60]!r})"
        )


def interpretation(
    passages: Sequence[Context],
    interpreter: Any,
    *,
    threshold: float = 0.0,
    shown: int = 10,
    judged: int = 20,
    test: float = 0.5,
    seed: int = 0,
) -> Interpretation:
    """How well words for a unit tell where it is active in other documents.

    Args:
        passages: With the value of the unit at every token, as `contexts` gives them; the unit must be active in some
            and silent in others.
        interpreter: An `Interpreter`: who explains and answers.
        threshold: A token is active above it.
        shown: Passages to explain, the strongest of the documents of one side.
        judged: Passages of each kind to answer, of the other documents.
        test: Share of the documents that are answered about.
        seed: Of split, choice, marks and shuffles.

    Raises:
        InputError: An interpreter that lacks a part, or gives another number of answers than there are passages.
        DataError: One document, or fewer than four active or silent passages on a side.

    Source:
        specs/evaluation.md, E27; Paulo et al. 2024 (arXiv 2410.13928).

    Example:
        >>> class Words:  # explains by the word that is marked most often
        ...     def explain(self, passages):
        ...         marked = [part.split(">>")[0].strip() for one in passages for part in one.split("<<")[1:]]
        ...         return max(marked, key=marked.count)
        ...     def detect(self, explanation, passages): return [explanation in one for one in passages]
        ...     def fuzz(self, explanation, passages): return [f"<< {explanation}>>" in one for one in passages]
        >>> texts = [("a", " cat" if n % 2 else " dog", " sat", f" {n}") for n in range(80)]
        >>> values = [[float(word == " cat") for word in words] for words in texts]
        >>> given = [
        ...     Context(document=n, position=0, tokens=words, values=tuple(own), focus=0)
        ...     for n, (words, own) in enumerate(zip(texts, values))
        ... ]
        >>> interpretation(given, Words())
        Interpretation(detection 1.00, fuzzing 1.00, 'cat')
    """
    if not isinstance(interpreter, Interpreter):
        raise InputError(f"a {type(interpreter).__name__} is no interpreter: it needs explain, detect and fuzz")
    on = [np.asarray(one.values) > threshold for one in passages]
    active = np.array([bool(one.any()) for one in on])
    rng = np.random.default_rng([seed, 41])
    documents = grouping([one.document for one in passages], len(passages))
    held_out = chosen_on(documents, select=test, seed=seed, of="passages")
    _check(active, held_out)
    told = _strongest(passages, np.flatnonzero(active & ~held_out), shown)
    explanation = interpreter.explain([_marked(passages[one], on[one]) for one in told])
    lots = rng.choice(np.flatnonzero(~held_out), size=min(len(told), int((~held_out).sum())), replace=False)
    shuffled = interpreter.explain([_marked(passages[one], rng.permutation(on[told[turn]]).tolist())
                                    for turn, one in enumerate(lots)])  # fmt: skip
    few = min(judged, *(int((held_out & (active == kind)).sum()) for kind in (True, False)))
    chosen = np.concatenate([_some(np.flatnonzero(held_out & (active == kind)), few, rng) for kind in (True, False)])
    plain = ["".join(passages[one].tokens) for one in chosen]
    turned, right, asked = _fuzzed(passages, on, chosen[:few], rng)
    answers = [
        (_answers(ask(words, texts), len(texts)), truth)
        for ask, texts, truth in ((interpreter.detect, plain, active[chosen]), (interpreter.fuzz, turned, right))
        for words in (explanation, shuffled)
    ]
    detection, fuzzing = (
        _scored(answers[first], answers[first + 1], documents.codes[own], seed)
        for first, own in ((0, chosen), (2, asked))
    )
    return Interpretation(explanation=explanation, detection=detection, fuzzing=fuzzing, shown=len(told))


def _check(active: Bool[np.ndarray, " n"], held_out: Bool[np.ndarray, " n"]) -> None:
    for side, where in (("to explain", ~held_out), ("to answer about", held_out)):
        for kind, told in ((True, "active"), (False, "silent")):
            count = int((where & (active == kind)).sum())
            if count < LEAST and (kind or side != "to explain"):
                raise DataError(
                    f"the unit is {told} in {count} passages {side}: at least {LEAST} are needed, give more documents"
                    " or another threshold"
                )


def _strongest(passages: Sequence[Context], candidates: np.ndarray, count: int) -> list[int]:
    peaks = [np.nanmax(passages[one].values) for one in candidates]
    return candidates[np.argsort(-np.array(peaks), kind="stable")][:count].tolist()


def _some(candidates: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(candidates, size=count, replace=False)


def _marked(passage: Context, on: Sequence[bool] | Bool[np.ndarray, " t"]) -> str:
    """The words with << >> around the marked ones; marks beyond the passage are lost."""
    marks = [*list(on)[: len(passage.tokens)], *[False] * (len(passage.tokens) - len(on))]
    return "".join(f"<<{word}>>" if mark else word for word, mark in zip(passage.tokens, marks, strict=True))


def _fuzzed(
    passages: Sequence[Context], on: Sequence[np.ndarray], chosen: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], Bool[np.ndarray, " m"], np.ndarray]:
    """(marked passages, whether rightly, which passage each is): every other one is marked elsewhere."""
    texts, right, asked = [], [], []
    for number, one in enumerate(chosen):
        silent = np.flatnonzero(~on[one])
        rightly = number % 2 == 0 or not len(silent)
        marks = on[one]
        if not rightly:
            marks = np.zeros(len(on[one]), bool)
            marks[rng.choice(silent, size=min(int(on[one].sum()), len(silent)), replace=False)] = True
        texts.append(_marked(passages[one], marks))
        right.append(rightly)
        asked.append(one)
    return texts, np.array(right), np.array(asked)


def _answers(given: Sequence[Any], count: int) -> Bool[np.ndarray, " n"]:
    found = [bool(one) for one in given]
    if len(found) != count:
        raise InputError(f"the interpreter gave {len(found)} answers for {count} passages: one each is needed")
    return np.array(found)


def _scored(own: tuple[Any, Any], control: tuple[Any, Any], documents: np.ndarray, seed: int) -> Estimate:
    answers, truth = own
    right = (answers == truth).astype(np.float64)
    rng = np.random.default_rng([seed, 43])
    drawn = [float((answers == rng.permutation(truth)).mean()) for _ in range(SHUFFLES)]
    found = mean_estimate(right, documents, seed=seed, bounds=(0.0, 1.0))
    return replace(
        found, null=0.5, p_value=rank_p(float(right.mean()), drawn), control=float((control[0] == control[1]).mean())
    )
