"""Steering: how a behaviour answers to the dose of a direction and to when it is injected, and what else the dose does.

A fixed continuation is teacher-forced in every arm, because free generation drifts to other texts. The schedule weighs
the dose by the index g of the generated token (g < 0 inside the prompt), an absolute position, so cached and uncached
runs agree.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `steering` | (B(a) - B(-a)) / 2 | unit of B | odd part of the dose-response at the test dose | specs/evaluation.md E14 |
| `side_effects` | KL(M, M_v), CE | nats a token | on neutral text; largest dose with KL <= tau | E15 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.causal import DRAWS
from unweave.evals.causing.changes import add, random_bases, vector_of
from unweave.evals.causing.patching import Change, Patching, passes, scores
from unweave.evals.causing.schedules import weights
from unweave.evals.findings import Finding, Prediction, finding
from unweave.models.tokens import Tokens
from unweave.tensors.grouped import grouped_mean
from unweave.tensors.splits import grouping

DOSES = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
TAU = 0.1
"""Nats a token of KL on neutral text up to which a dose is usable."""
UNMEASURED = "no neutral text: what else the dose does was not measured"


def steering(
    patched: Patching,
    direction: Any,
    behaviour: Behaviour,
    *,
    doses: Any = DOSES,
    unit: str = "sd",
    schedule: Any = "always",
    prompts: Sequence[int] | None = None,
    neutral: Patching | None = None,
    groups: Any = None,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """How a behaviour answers to the dose of a direction, against random directions of equal norm.

    Args:
        patched: Prompts with their continuations; no source is needed.
        direction: A `Direction` or a vector; a read-out is refused.
        behaviour: What is measured.
        doses: Symmetric about 0.
        unit: `sd` of `h @ v_hat` over the places, `norm` (mean norm of h there) or `raw` (times the vector).
        schedule: As in `weights`.
        prompts: Real tokens of each prompt; None where everything is prompt.
        neutral: Text without the behaviour: the test dose is the largest with KL at most 0.1 nat a token there.
        groups: The group of each item.
        prediction: What is claimed of the odd part at the test dose.
        draws: Random directions of equal norm.
        seed: Of controls and interval.

    Returns:
        The finding; its details hold the doses, the mean behaviour and KL at each, the slope at 0, Spearman's
            correlation and the test dose.

    Raises:
        InputError: Doses that are not symmetric about 0.

    Example:
        >>> from unweave.evals.causing.patching import patching
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> tokens, prompts, measure = world.continued(world.prompts(8, seed=0), seed=0)
        >>> ready = patching(world.model, "blocks.0.resid_post", tokens)
        >>> steering(ready, world.memory, measure, doses=(-1, 0, 1), unit="raw", prompts=prompts).supported
        True
    """
    grid = tuple(sorted(float(dose) for dose in doses))
    if 0.0 not in grid or any(abs(one + two) > 1e-9 for one, two in zip(grid, grid[::-1], strict=True)):
        raise InputError(f"doses are {list(doses)}: they must be symmetric about 0 and contain it")
    vector = vector_of(direction).double()
    sizes = weights(schedule, generated_index(patched, prompts))
    unit_vector, one_dose = vector / vector.norm(), dose_unit(patched, vector, unit)
    curve = scores(patched, [inject(unit_vector, one_dose * dose, sizes) for dose in grid], behaviour)
    kl, usable, warnings = None, max(grid), []
    if neutral is not None:
        kl = [one["kl"] for one in side_effects(neutral, unit_vector, [one_dose * dose for dose in grid])]
        within = [dose for dose, cost in zip(grid, kl, strict=True) if dose > 0 and cost <= TAU]
        usable = max(within, default=min(dose for dose in grid if dose > 0))
        if not within:
            warnings.append(
                f"even the smallest dose costs more than {TAU} nat a token on neutral text: no dose is usable"
            )
    randoms = [basis[:, 0] for basis in random_bases(patched.width, 1, draws=draws, seed=seed)]
    tested = [inject(one, sign * one_dose * usable, sizes) for one in randoms for sign in (1, -1)]
    odd = scores(patched, tested, behaviour).reshape(draws, 2, -1)
    means = curve.mean(1)
    half = (curve[grid.index(usable)] - curve[grid.index(-usable)]) / 2
    return finding(
        "steering",
        f"(B(+a) - B(-a)) / 2 at a = {usable:g} {unit}",
        half,
        (odd[:, 0] - odd[:, 1]) / 2,
        unit=behaviour.unit,
        scope=behaviour.scope,
        groups=groups,
        prediction=prediction,
        floor=0.0,
        seed=seed,
        details={
            "doses": list(grid),
            "mean": means.tolist(),
            "slope": _slope(grid, means),
            "spearman": _spearman(np.array(grid), means),
            "kl": kl,
            "test_dose": usable,
            "one_dose": one_dose,
            "schedule": schedule if isinstance(schedule, str) else "a function",
        },
        warnings=(*warnings,) if neutral is not None else (UNMEASURED,),
    )


def compare_schedules(
    patched: Patching,
    direction: Any,
    behaviour: Behaviour,
    schedules: Sequence[str],
    *,
    dose: float,
    prompts: Sequence[int],
    groups: Any = None,
    items: Any = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The effect of each schedule at equal total dose: the sum over places is that of `always`.

    Args:
        patched: Prompts with their continuations.
        direction: A `Direction` or a vector.
        behaviour: What is measured.
        schedules: Names as in `weights`.
        dose: Of `always`, times the vector.
        prompts: Real tokens of each prompt.
        groups: The group of each item.
        items: Which items are counted; None is all. Of a site chosen by its effect, those it was not chosen on.
        seed: Of the intervals.

    Returns:
        A row a schedule: its name, the largest dose at one place, the effect and its interval.

    Example:
        >>> from unweave.evals.causing.patching import patching
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> tokens, prompts, measure = world.continued(world.prompts(8, seed=0), seed=0)
        >>> ready = patching(world.model, "blocks.0.resid_pre", tokens)
        >>> rows = compare_schedules(ready, world.style, measure, ["always", "first:1"], dose=0.5, prompts=prompts)
        >>> [row["schedule"] for row in rows]
        ['always', 'first:1']
    """
    g = generated_index(patched, prompts)
    vector, count = vector_of(direction).double(), patched.rows
    laid = {name: weights(name, g) for name in schedules}
    for name, sizes in laid.items():
        if not bool((torch.zeros(count).double().index_add_(0, patched.row, sizes) > 0).all()):
            raise InputError(f"schedule {name!r} injects nothing in some row: give continuations that are long enough")
    changes = []
    for sizes in laid.values():
        total = torch.zeros(count).double().index_add_(0, patched.row, sizes)
        places = torch.bincount(patched.row, minlength=count)
        changes.append(inject(vector, dose, sizes * (places / total)[patched.row]))
    values = scores(patched, [None, *changes], behaviour)
    counted = np.ones(values.shape[1], dtype=bool) if items is None else np.asarray(items)
    codes = np.unique(grouping(groups, values.shape[1]).codes[counted], return_inverse=True)[1]
    rows = []
    for number, (name, sizes) in enumerate(laid.items()):
        estimate = grouped_mean((values[number + 1] - values[0])[counted], codes, seed=seed)
        rows.append({"schedule": name, "injected_share": float((sizes > 0).double().mean()), "effect": estimate})
    return rows


def side_effects(neutral: Patching, direction: Any, doses: Any) -> list[dict[str, float]]:
    """What each dose does to text that has nothing to do with the behaviour.

    Args:
        neutral: Neutral text, at all its positions.
        direction: A `Direction` or a vector.
        doses: Times the vector.

    Returns:
        A row a dose: `dose`, `kl` (nats a token, from the plain run) and `loss` (rise of the loss, nats a token).

    Example:
        >>> from unweave.evals.causing.patching import patching
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> ready = patching(world.model, "blocks.0.resid_post", world.prompts(4, seed=0))
        >>> rows = side_effects(ready, world.memory, [0.0, 1.0])
        >>> rows[0]["kl"] == 0 < rows[1]["kl"]
        True
    """
    vector = vector_of(direction).double()
    sums, count = np.zeros((len(doses), 2)), 0
    tokens = neutral.tokens
    following = tokens.ids.roll(-1, 1) if isinstance(tokens, Tokens) else None
    for number, dose in enumerate(doses):
        count, total = 0, np.zeros(2)
        plain: Tensor | None = None
        for begin, rows, columns, logits in passes(neutral, [None, add(vector, dose)], "all"):
            for turn, one in enumerate(logits.float().log_softmax(-1)):
                if begin + turn == 0:
                    plain = one
                    continue
                if plain is None:
                    raise RuntimeError("a change came before the plain run")
                total[0] += float((plain.exp() * (plain - one)).sum())
                count += len(rows)
                if following is not None:
                    total[1] += _loss_rise(neutral, following, rows, columns, plain - one)
        sums[number] = total / max(count, 1)
    return [{"dose": float(dose), "kl": float(a), "loss": float(b)} for dose, (a, b) in zip(doses, sums, strict=True)]


def dose_unit(patched: Patching, vector: Tensor, unit: str) -> float:
    """How much of the unit vector one dose is."""
    exact = patched.base.double()
    if unit == "sd":
        return float((exact @ (vector / vector.norm())).std(correction=0))
    if unit == "norm":
        return float(exact.norm(dim=1).mean())
    if unit == "raw":
        return float(vector.norm())
    raise unknown_name("unit of dose", unit, ("sd", "norm", "raw"))


def generated_index(patched: Patching, prompts: Sequence[int] | None) -> Tensor:
    """g of each place: its real position less the length of the prompt; without prompts all is prompt."""
    place = torch.from_numpy(real_position(patched, patched.row, patched.column))
    if prompts is None:
        return place - int(1e9)
    return place - torch.as_tensor(list(prompts))[patched.row]


def inject(vector: Tensor, dose: float, sizes: Tensor) -> Change:
    """Plus the vector times the dose times the share at each place."""
    return add(vector, dose * sizes)


def real_position(patched: Patching, rows: Tensor, columns: Tensor) -> np.ndarray:
    """The index of each among the real tokens of its row."""
    tokens = patched.tokens
    return (tokens.positions()[rows, columns] if isinstance(tokens, Tokens) else columns).numpy()


def _loss_rise(neutral: Patching, following: Tensor, rows: Tensor, columns: Tensor, drop: Tensor) -> float:
    mask = neutral.tokens.mask
    inside = (columns + 1 < mask.shape[1]) & mask[rows, (columns + 1).clamp_max(mask.shape[1] - 1)]
    own = drop.gather(1, following[rows, columns].unsqueeze(1).to(drop.device)).squeeze(1).cpu()
    return float(own[inside].sum())


def _slope(grid: Sequence[float], means: np.ndarray) -> float:
    """The central difference at 0 of the two smallest doses, per dose."""
    places = np.array(grid)
    step = float(np.min(places[places > 0]))
    return float((means[np.argmin(abs(places - step))] - means[np.argmin(abs(places + step))]) / (2 * step))


def _spearman(grid: np.ndarray, means: np.ndarray) -> float:
    from scipy.stats import rankdata

    one, two = rankdata(grid), rankdata(means)
    spread = one.std() * two.std()
    return float(((one - one.mean()) * (two - two.mean())).mean() / spread) if spread else 0.0
