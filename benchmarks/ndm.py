"""NDM: the cost of a step against a plain twin of the published recipe, what each speed-up brings, and recovery.

python benchmarks/ndm.py step [--keys 65536]      # CPU-seconds a step, equality of the loss, ablation
python benchmarks/ndm.py recovery                 # planted world at width 768: purity against CPU-seconds, baselines
python benchmarks/ndm.py race [--steps 200]       # CPU-seconds to the held-out distance that the twin reaches
python benchmarks/ndm.py toy                      # ten seeds of [20,20] -> 12 and [5,15,5,15] -> 12
python benchmarks/ndm.py large                    # [80,80] -> 32, [40,80,120,160] -> 32 and -> 64
python benchmarks/ndm.py copy                     # the copy transformer's rows against the authors' partitions

CPU-seconds are of this process with the threads that OMP_NUM_THREADS allows; run on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

import unweave as uw
from unweave.ndm.descent import start_state, step
from unweave.ndm.objective import euclidean
from unweave.study.ndm_toy import ndm_toy
from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.neighbors import SearchOptions, nearest_in_blocks
from unweave.worlds.exclusive import exclusive_world

WIDTH, UNIT = 768, 32
DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "ndm" / "copy_transformer"


class Twin(torch.nn.Module):
    """The published step, plainly: R = base expm(A), all keys rotated in float32, cdist and min for each block, the
    whole row of every winner copied and rotated again by the whole R.
    """

    def __init__(self, rotation: torch.Tensor, *, cached: bool) -> None:
        super().__init__()
        self.base, self.cached = rotation, cached
        self.raw = torch.nn.Parameter(torch.zeros_like(rotation))
        self.kept: torch.Tensor | None = None

    def rotation(self) -> torch.Tensor:
        """Recomputed at every use, as the published module does, unless cached."""
        if self.kept is not None:
            return self.kept
        lower = torch.tril(self.raw, -1)
        found = self.base @ torch.linalg.matrix_exp(lower - lower.T)
        self.kept = found if self.cached and torch.is_grad_enabled() else None
        return found

    def loss(
        self, queries: torch.Tensor, keys: torch.Tensor, sizes: tuple[int, ...], block: int = 16_384
    ) -> torch.Tensor:
        """The objective, differentiable in the raw parameters."""
        self.kept = None
        best = torch.full((len(sizes), len(queries)), torch.inf)
        winner = torch.zeros(len(sizes), len(queries), queries.shape[1])
        columns = torch.tensor([0, *sizes]).cumsum(0).tolist()
        with torch.no_grad():
            turn = self.rotation
            if self.cached:
                known = self.rotation()
                turn = lambda: known  # noqa: E731
            own = queries @ turn()
            for start in range(0, len(keys), block):
                part = keys[start : start + block]
                turned = part @ turn()
                for s, (a, b) in enumerate(pairwise(columns)):
                    near = torch.cdist(own[:, a:b], turned[:, a:b])
                    value, index = near.min(1)
                    better = value < best[s]
                    best[s] = torch.where(better, value, best[s])
                    winner[s] = torch.where(better[:, None], part[index], winner[s])
        turned, own = winner @ self.rotation(), queries @ self.rotation()
        parts = [(own[:, a:b] - turned[s, :, a:b]).norm(dim=1).mean() for s, (a, b) in enumerate(pairwise(columns))]
        return torch.stack(parts).mean()


def timed(function, repeats: int = 2):
    function()
    start = time.process_time()
    for _ in range(repeats):
        result = function()
    return (time.process_time() - start) / repeats, result


def our_step(queries, keys, state, options, retraction="cayley"):
    found = nearest_in_blocks(queries, keys, state.rotation, state.sizes, options=options)
    here = euclidean(queries, keys[found], state.rotation, state.sizes)
    step(state, here.gradient, 1e-3, retraction)
    return here.loss


def step_cost(keys_count: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(keys_count, WIDTH, generator=generator)
    queries = torch.randn(1024, WIDTH, generator=generator)
    sizes = (UNIT,) * (WIDTH // UNIT)
    rotation = random_orthogonal(WIDTH, seed=0, dtype=torch.float32)
    state = start_state(rotation, sizes)
    rows = []

    def plain(cached: bool):
        twin = Twin(state.rotation, cached=cached)
        optimiser = torch.optim.Adam([twin.raw], lr=3e-4)

        def one() -> float:
            optimiser.zero_grad()
            loss = twin.loss(queries[:128], keys, sizes)
            loss.backward()
            return loss.item()

        return one

    for name, cached in (("twin: R at every use, cdist, copies", False), ("twin, R once a step", True)):
        seconds, loss = timed(plain(cached), 1)
        rows.append({"variant": name, "per_128": seconds, "loss": loss})
    exact, rough = SearchOptions(), SearchOptions(precision="bfloat16")
    for name, batch, options, retraction in (
        ("fused two-level search, matched pairs, expm, float32", 128, exact, "expm"),
        ("the same with Cayley", 128, exact, "cayley"),
        ("the same, keys rotated in bfloat16", 128, rough, "cayley"),
        ("the same, 512 queries a rotation", 512, rough, "cayley"),
        ("the same, 1,024 queries a rotation", 1024, rough, "cayley"),
    ):
        seconds, loss = timed(lambda b=batch, o=options, r=retraction: our_step(queries[:b], keys, state, o, r))
        rows.append({"variant": name, "per_128": seconds * 128 / batch, "loss": loss if batch == 128 else None})
    base = rows[0]["per_128"]
    for row in rows:
        row["speed_up"] = base / row["per_128"]
        row["loss_off"] = None if row["loss"] is None else abs(row["loss"] / rows[0]["loss"] - 1)
    return {"keys": keys_count, "rows": rows}


WORLDS = ((0.01, 0.0), (0.05, 0.0), (0.1, 0.0), (0.2, 0.0), (0.01, 0.1), (0.01, 0.3))
"""Noise and overlap."""


def fitted(rows, **options):
    """The fit and its CPU-seconds."""
    start = time.process_time()
    return uw.ndm.fit(rows, seed=0, **options), time.process_time() - start


def recovery(steps: int) -> None:
    """Purity of the start by independent components, of NDM after it, and of what else has blocks of the right size."""
    for noise, overlap in WORLDS:
        world = exclusive_world(noise=noise, overlap=overlap, seed=0)
        held = world.purity(world.bases, world.sizes)
        row = {"noise": noise, "overlap": overlap, "truth": held}
        for name, taken in (("ica", 0), ("ndm", steps)):
            found, seconds = fitted(world.rows, unit_size=UNIT, init="ica", mi_keys=8192, mi_queries=500, steps=taken)
            blocks = found.partition
            row |= {f"{name}_purity": world.purity(found.featurizer.read, blocks), f"{name}_seconds": seconds}
            row |= {f"{name}_blocks": len(blocks), f"{name}_right_sizes": sorted(blocks) == sorted(world.sizes)}
            row["start"] = found.start
        for name, read in (
            ("identity", torch.eye(WIDTH)),
            ("random", random_orthogonal(WIDTH, seed=1)),
            ("pca", uw.features.pca(world.rows[:20_000]).read),
        ):
            row[name] = world.purity(read, world.sizes)
        print(json.dumps(row), flush=True)


def race(steps: int) -> None:
    """The twin's steps from the identity by the published recipe against the time that `fit` takes to come as near."""
    world = exclusive_world(noise=0.01, seed=0)
    held, rows = world.rows[:1024], world.rows[1024:]
    pool, sizes = 65_536, world.sizes
    keys = rows[:pool]

    def distance(rotation: torch.Tensor) -> float:
        rotation = rotation.float()
        found = nearest_in_blocks(held, keys, rotation, sizes)
        return euclidean(held, keys[found], rotation, sizes, with_gradient=False).loss

    twin = Twin(torch.eye(WIDTH), cached=True)
    optimiser = torch.optim.Adam([twin.raw], lr=3e-4)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    spent, told = 0.0, []
    for at in range(steps):
        start = time.process_time()
        optimiser.zero_grad()
        twin.loss(rows[order[torch.arange(at * 128, at * 128 + 128) % len(rows)]], keys, sizes).backward()
        optimiser.step()
        spent += time.process_time() - start
        if (at + 1) % 50 == 0:
            twin.kept = None
            with torch.no_grad():
                turned = twin.rotation()
                told.append((spent, distance(turned), world.purity(turned, sizes)))
            print("twin: {:.0f} CPU-s, distance {:.4f}, purity {:.3f}".format(*told[-1]), flush=True)
    for name, options in (
        ("ours, defaults' start, no descent", {"init": "ica", "steps": 0}),
        ("ours, identity, 25 steps", {"init": "identity", "steps": 25}),
        ("ours, identity, 100 steps", {"init": "identity", "steps": 100}),
        ("ours, identity, 400 steps", {"init": "identity", "steps": 400}),
    ):
        # never merging keeps the units: distances compare at equal sizes only
        found, seconds = fitted(rows, unit_size=UNIT, merge_thr=float("inf"), mi_keys=2048, mi_queries=100, **options)
        read = found.featurizer.read
        told = (name, seconds, distance(read), world.purity(read, sizes))
        print("{}: {:.1f} CPU-s, distance {:.4f}, purity {:.3f}".format(*told), flush=True)
    truth = world.bases.float()
    print(f"truth: distance {distance(truth):.4f}, identity {distance(torch.eye(WIDTH)):.4f}", flush=True)


def toys(cases, seeds) -> None:
    kept = ("purity", "partition", "ranks", "separable", "overlap", "recovered", "cpu_seconds", "training_seconds")
    for groups, width in cases:
        for seed in seeds:
            facts = ndm_toy(groups, width, seed).facts()
            print(list(groups), width, seed, {key: facts[key] for key in kept}, flush=True)


def copy() -> None:
    for layer in (0, 1):
        rows = torch.load(DATA / f"x{layer}.post.pt", weights_only=True)
        theirs = uw.ndm.load_reference(DATA / f"partition_2x32/R-custom-x{layer}.post.pt", {"partition": [32, 32]})
        for seed in range(3):
            start = time.process_time()
            ours = uw.ndm.fit(rows, unit_size=32, merge_thr=float("inf"), seed=seed)
            seconds = time.process_time() - start
            both = [uw.ndm.neighbor_distance(rows, one, queries=4000).unweighted for one in (ours.featurizer, theirs)]
            print(f"x{layer} seed {seed}: ours {both[0]:.4f}, authors {both[1]:.4f}, {seconds:.1f} CPU-s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "recovery", "race", "toy", "large", "copy"])
    parser.add_argument("--keys", type=int, default=65_536)
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    if given.what == "step":
        told = step_cost(given.keys)
        for row in told["rows"]:
            off = "" if row["loss_off"] is None else f", loss off by {row['loss_off']:.1e}"
            print(f"{row['per_128']:8.3f} CPU-s per 128 queries  {row['speed_up']:6.1f} x  {row['variant']}{off}")
    elif given.what == "recovery":
        recovery(given.steps)
    elif given.what == "race":
        race(given.steps)
    elif given.what == "toy":
        toys((((20, 20), 12), ((5, 15, 5, 15), 12)), range(10))
    elif given.what == "large":
        toys((((80, 80), 32), ((40, 80, 120, 160), 32), ((40, 80, 120, 160), 64)), range(3))
    else:
        copy()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
