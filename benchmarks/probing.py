"""Sparse probes against peers on the planted benchmark, many features and sites, and the certified best subset.

    python benchmarks/probing.py planted [--seeds 5] [--peers telescoping,sweep,mean_difference,l1,abess]
    python benchmarks/probing.py scaling [--full]
    python benchmarks/probing.py exact

Prints one JSON document. CPU-seconds of one thread (time.process_time), fits and test F1 on both sides, controls and bootstrap off,
identical rows: the split of specs/probing.md 10.1. Peers are in benchmarks/probing_peers.py. `scaling` measures a part and says what it
extrapolates; `--full` runs all 64 features at all 12 sites.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import probing_parts as parts
import probing_peers as peers
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import probe_all
from unweave.probing.problem import Problem
from unweave.tensors.splits import grouping
from unweave.worlds import planted
from unweave.worlds.planted import Planted

KS = (1, 2, 4, 8, 16)


def ours(world: Planted, *, selector: str = "auto", seed: int = 0) -> dict[int, peers.Answer]:
    config = ProbeConfig(ks=KS, selector=selector, shuffles=0, bootstrap=100, seed=seed)
    grouped = grouping(world.groups, len(world.groups))
    problem = Problem(
        labels=world.labels[:, 0] == 1, groups=grouped, names=tuple(range(grouped.count)), held_out=world.held_out
    )
    found = probe_all(torch.from_numpy(world.sites[0]), problem, config)
    return {probe.k: peers.Answer(f1=probe.f1.value, support=probe.support, by=probe.selector) for probe in found}


def timed(function: Callable[..., Any], *given: Any, **options: Any) -> tuple[Any, float]:
    start = time.process_time()
    answer = function(*given, **options)
    return answer, time.process_time() - start


def oracle(world: Planted) -> float:
    return peers.refit(world, sorted(world.members[0][0].tolist())).f1


def paired(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Mean difference over seeds and its standard error."""
    gap = first - second
    return {"difference": round(float(gap.mean()), 4), "se": round(float(gap.std(ddof=1) / np.sqrt(len(gap))), 4)}


def benchmark_planted(seeds: int, chosen: list[str], selectors: list[str]) -> dict[str, Any]:
    """F1 at every k, recovery at 8 and 16, CPU-seconds, for every seed; and auto against the best peer at each k."""
    report: dict[str, Any] = {}
    for setting in ("easy", "hard"):
        runs: dict[str, list[tuple[dict[int, peers.Answer], float]]] = {}
        best = []
        ours(planted(setting, 2000, 600, seed=99))  # the first call of a process pays for imports
        for seed in range(seeds):
            world = planted(setting, seed=seed)
            best.append(oracle(world))
            for name in chosen:
                runs.setdefault(name, []).append(timed(peers.PEERS[name], world, KS))
            for name in selectors:
                runs.setdefault(f"ours: {name}", []).append(timed(ours, world, selector=name))
            print(setting, seed, {name: round(found[-1][1], 2) for name, found in runs.items()}, file=sys.stderr)
        truths = [set(planted(setting, 40, seed=seed).members[0][0].tolist()) for seed in range(seeds)]
        table = {name: np.array([[answer[k].f1 for k in KS] for answer, _ in found]) for name, found in runs.items()}
        rivals = [name for name in table if not name.startswith("ours")]
        report[setting] = {
            "oracle": [round(one, 4) for one in best],
            "methods": {
                name: {
                    "f1": dict(zip(KS, table[name].mean(0).round(4).tolist(), strict=True)),
                    "f1_by_seed_k8": table[name][:, 3].round(4).tolist(),
                    "recovery_8_16": [
                        round(
                            float(
                                np.mean(
                                    [
                                        len(truth & set(answer[k].support)) / 8
                                        for truth, (answer, _) in zip(truths, found, strict=True)
                                    ]
                                )
                            ),
                            3,
                        )
                        for k in (8, 16)
                    ],
                    "cpu_seconds": round(float(np.mean([cost for _, cost in found])), 3),
                    "cpu_seconds_by_seed": [round(cost, 3) for _, cost in found],
                }
                for name, found in runs.items()
            },
            "auto_against_best_peer": {
                k: {"peer": rival, **paired(table["ours: auto"][:, place], table[rival][:, place])}
                for place, k in enumerate(KS)
                if (rival := max(rivals, key=lambda name, place=place: table[name][:, place].mean()))
            },
            "auto_k8_within_.005_of_oracle": bool((table["ours: auto"][:, 3] >= np.array(best) - 0.005).all()),
            "winners": [[answer[k].by for k in KS] for answer, _ in runs["ours: auto"]],
        }
        if "telescoping" in runs:
            costs = {name: np.mean([cost for _, cost in runs[name]]) for name in ("telescoping", "ours: auto")}
            report[setting]["auto_cpu_over_telescoping"] = round(float(costs["ours: auto"] / costs["telescoping"]), 3)
    return report


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["planted", "scaling", "exact"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", default="telescoping,sweep,mean_difference,l1,abess")
    parser.add_argument("--selectors", default="auto")
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    if given.what == "planted":
        chosen = [name for name in given.peers.split(",") if name and peers.available(name)]
        report = benchmark_planted(given.seeds, chosen, given.selectors.split(","))
    else:
        report = {"scaling": parts.scaling, "exact": parts.exact}[given.what](given.full)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
