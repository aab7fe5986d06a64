"""The parts of benchmarks/probing.py besides the planted comparison: many features and sites, and the certified subset."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import torch

import probing_peers as peers
from unweave.probing.config import ProbeConfig
from unweave.probing.exact import best_subset
from unweave.probing.problem import Problem
from unweave.probing.together import probe_together
from unweave.tensors.splits import grouping
from unweave.worlds import planted
from unweave.worlds.planted import Planted

KS = (1, 2, 4, 8, 16)
FEATURES, SITES, ROWS, WIDTH = 64, 12, 20_000, 3072
LOOPED = 4
"""Features of a site that the loop is timed on; its cost is the same for each."""


def scaling(full: bool) -> dict[str, Any]:
    """CPU-seconds for 64 features at 12 sites, one selector on both sides; one site is measured unless `full`."""
    sites = SITES if full else 1
    world = planted("easy", ROWS, WIDTH, features=FEATURES, sites=sites, seed=0)
    report: dict[str, Any] = {"features": FEATURES, "sites_measured": sites, "rows": ROWS, "width": WIDTH}
    for selector, peer in (("std_mean_diff", "sweep"), ("auto", "telescoping")):
        ours, found = _ours(world, selector)
        looped, rival = _looped(world, peer)
        units = FEATURES * SITES
        report[selector] = {
            "ours_cpu_seconds": round(ours * SITES / sites, 2),
            "loop": peer,
            "loop_cpu_seconds": round(looped / LOOPED * units, 1),
            "ratio": round(ours / sites / (looped / LOOPED * FEATURES), 4),
            "mean_f1_of_both_on_the_features_looped": {
                k: [round(float(np.mean(found[k][:LOOPED])), 4), round(float(np.mean(rival[k])), 4)] for k in KS
            },
        }
    report["peak_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return report


def _ours(world: Planted, selector: str) -> tuple[float, dict[int, list[float]]]:
    """CPU-seconds over all sites, and F1 of every feature at the first site."""
    config = ProbeConfig(ks=KS, selector=selector, shuffles=0, bootstrap=100)
    grouped = grouping(world.groups, len(world.groups))
    problems = [
        Problem(labels=labels == 1, groups=grouped, names=tuple(range(grouped.count)), held_out=world.held_out)
        for labels in world.labels.T
    ]
    places = [np.arange(len(world.groups))] * len(problems)
    f1: dict[int, list[float]] = {k: [] for k in KS}
    start = time.process_time()
    for number, site in enumerate(world.sites):
        for probes in probe_together(torch.from_numpy(site), problems, places, config):
            for probe in probes if number == 0 else []:
                f1[probe.k].append(probe.f1.value)
    return time.process_time() - start, f1


def _looped(world: Planted, peer: str) -> tuple[float, dict[int, list[float]]]:
    """CPU-seconds of the peer on a few features at the first site, one by one."""
    f1: dict[int, list[float]] = {k: [] for k in KS}
    start = time.process_time()
    for feature in range(LOOPED):
        for k, answer in peers.PEERS[peer](alone(world, feature), KS).items():
            f1[k].append(answer.f1)
    return time.process_time() - start, f1


def alone(world: Planted, feature: int) -> Planted:
    """One feature of a world at its first site."""
    return Planted(
        sites=world.sites[:1],
        labels=world.labels[:, [feature]],
        groups=world.groups,
        held_out=world.held_out,
        members=world.members[:1],
        distractors=world.distractors[:1],
        drive=world.drive[:, [feature]],
    )


def exact(full: bool) -> dict[str, Any]:
    """The certified best subset within 50 columns of the easy setting; beyond k = 3 how far it gets in 30 s."""
    world = planted("easy", seed=0)
    train = ~world.held_out
    report = {}
    for k in (1, 2, 3, 4, *((8,) if full else ())):
        start = time.process_time()
        found = best_subset(world.sites[0][train], world.labels[train, 0], k, time_limit=600.0 if k <= 3 else 30.0)
        report[k] = {
            "cpu_seconds": round(time.process_time() - start, 2),
            "support": found.support,
            "loss": round(found.upper, 2),
            "gap": found.gap,
            "proven": found.proven,
            "nodes": found.nodes,
            "fits": found.fits,
        }
    return report
