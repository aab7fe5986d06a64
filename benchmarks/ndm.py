"""NDM: the cost of a step against a plain twin of the published recipe, what each speed-up brings, and recovery.

python benchmarks/ndm.py step [--keys 65536]      # CPU-seconds a step, equality of the loss, ablation
python benchmarks/ndm.py recovery                 # planted world at width 768: purity against CPU-seconds, baselines
python benchmarks/ndm.py toy                      # ten seeds of [20,20] -> 12 and [5,15,5,15] -> 12
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


def recovery(noises=(0.01, 0.05, 0.1, 0.2), overlaps=(0.1, 0.3)) -> list[dict]:
    found = []
    for noise, overlap in [*((noise, 0.0) for noise in noises), *((0.01, overlap) for overlap in overlaps)]:
        world = exclusive_world(noise=noise, overlap=overlap, seed=0)
        start = time.process_time()
        result = uw.ndm.fit(world.rows, unit_size=UNIT, seed=0, init="ica", mi_keys=8192)
        row = {
            "noise": noise, "overlap": overlap, "seconds": time.process_time() - start,
            "purity": world.purity(result.featurizer.read, result.partition), "partition": result.partition,
            "start": result.start,
        }  # fmt: skip
        sizes = world.sizes
        row["identity"] = world.purity(torch.eye(WIDTH), sizes)
        row["random"] = world.purity(random_orthogonal(WIDTH, seed=1), sizes)
        row["pca"] = world.purity(uw.features.pca(world.rows[:20_000]).read, sizes)
        found.append(row)
        print(json.dumps(row), flush=True)
    return found


def toys(seeds=range(10)) -> None:
    for groups in ((20, 20), (5, 15, 5, 15)):
        for seed in seeds:
            facts = ndm_toy(groups, 12, seed).facts()
            kept = (
                "seed",
                "purity",
                "partition",
                "ranks",
                "separable",
                "overlap",
                "recovered",
                "cpu_seconds",
                "training_seconds",
            )
            print(list(groups), {key: facts[key] for key in kept}, flush=True)


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
    parser.add_argument("what", choices=["step", "recovery", "toy", "copy"])
    parser.add_argument("--keys", type=int, default=65_536)
    given = parser.parse_args()
    if given.what == "step":
        told = step_cost(given.keys)
        for row in told["rows"]:
            off = "" if row["loss_off"] is None else f", loss off by {row['loss_off']:.1e}"
            print(f"{row['per_128']:8.3f} CPU-s per 128 queries  {row['speed_up']:6.1f} x  {row['variant']}{off}")
    elif given.what == "recovery":
        recovery()
    elif given.what == "toy":
        toys()
    else:
        copy()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
