"""Sparse and dense probes against plain ones on labelled prompts: ../shared/data/probing, MiniLM, every layer.

    python benchmarks/probing_texts.py [--seeds 3] [--sets 18] [--rows 3200]

At each set and layer, held-out AUC of `auto` at k = 16 and of `dense_probe` against two peers on the same split: L2-logistic regression
on all units (scikit-learn, C = 1, standardised) and the mean-difference direction. A win or loss is a difference of more than twice
its standard deviation over seeds (each seed another split by prompt, or by name), a tie anything less. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import unweave as uw
from unweave.activations.haystack.prompts import LabelledPrompt, read_prompts
from unweave.probing.config import ProbeConfig
from unweave.probing.dense import dense_probe
from unweave.probing.problem import as_problem

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "probing"
CHARACTERS = 400
"""Of a prompt, the last ones: long prompts do not fit into the model, and cost more."""
OURS, PEERS = ("auto k=16", "dense"), ("l2 logistic", "mean difference")


def last_tokens(model: uw.Model, prompts: list[LabelledPrompt], sites: list[str]) -> dict[str, np.ndarray]:
    """The activations of the last token that stands for text, site by site."""
    found: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    for first in range(0, len(prompts), 64):
        tokens = model.tokenize([one.text[-CHARACTERS:] for one in prompts[first : first + 64]])
        there = (tokens.offsets[..., 1] > tokens.offsets[..., 0]) & tokens.mask.bool()
        last = there.shape[1] - 1 - there.flip(1).int().argmax(1)
        for site, values in model.capture(tokens, sites).items():
            found[site].append(values[torch.arange(len(last)), last].numpy())
    return {site: np.concatenate(parts) for site, parts in found.items()}


def scores(X: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, float]:
    """Held-out AUC of every method on one split."""
    config = ProbeConfig(ks=(16,), seed=seed, shuffles=0, bootstrap=100)
    _, problem = as_problem(X, y, groups, config)
    train, test = ~problem.held_out, problem.held_out
    standard = (X - X[train].mean(0)) / np.maximum(X[train].std(0), 1e-6)
    direction = standard[train][y[train]].mean(0) - standard[train][~y[train]].mean(0)
    plain = LogisticRegression(class_weight="balanced", max_iter=2000).fit(standard[train], y[train])
    sparse = uw.probing.sweep(X, y, groups=groups, ks=(16,), seed=seed, shuffles=0, bootstrap=100, coordinates=0)
    return {
        "auto k=16": sparse.probe(16).auc,
        "dense": dense_probe(X, y, groups=groups, config=config).auc.value,
        "l2 logistic": float(roc_auc_score(y[test], plain.decision_function(standard[test]))),
        "mean difference": float(roc_auc_score(y[test], standard[test] @ direction)),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", type=int, default=18)
    parser.add_argument("--rows", type=int, default=3200)
    asked = parser.parse_args()
    files = sorted(DATA.glob("*/*_*.csv.gz"))[: asked.sets]
    if not files:
        sys.stderr.write(f"no data at {DATA}: nothing to measure\n")
        return 1
    torch.set_num_threads(1)
    model = uw.load_model("minilm")
    sites = [f"blocks.{layer}.resid_post" for layer in range(6)]
    table = []
    for file in files:
        prompts = read_prompts(file, group_by="name" if file.parent.name == "wikidata" else "prompt")
        prompts = [
            prompts[place] for place in np.random.default_rng(0).permutation(len(prompts))[: asked.rows].tolist()
        ]
        labels = sorted({one.label for one in prompts})
        y = np.array([one.label == labels[0] for one in prompts])
        groups = np.unique([one.group for one in prompts], return_inverse=True)[1]
        for site, X in last_tokens(model, prompts, sites).items():
            runs = [scores(X, y, groups, seed) for seed in range(asked.seeds)]
            table.append({"set": file.name.split(".")[0], "site": site, "runs": runs})
        sys.stderr.write(f"{file.name} {time.process_time():.0f} CPU-s\n")
    print(json.dumps({"compared": compared(table), "mean_auc": means(table), "table": table}, indent=1))
    return 0


def means(table: list[dict]) -> dict[str, dict[str, float]]:
    """Mean AUC over sets and layers, and the mean standard deviation over seeds."""
    found = {}
    for name in (*OURS, *PEERS):
        values = np.array([[run[name] for run in row["runs"]] for row in table])
        found[name] = {
            "auc": round(float(values.mean()), 4),
            "reseed_sd": round(float(values.std(1, ddof=1).mean()), 4),
        }
    return found


def compared(table: list[dict]) -> dict[str, dict[str, float]]:
    """Wins, ties and losses over sets and layers, and the mean difference."""
    found = {}
    for ours in OURS:
        for peer in PEERS:
            gaps = np.array([[run[ours] - run[peer] for run in row["runs"]] for row in table])
            size, noise = gaps.mean(1), 2 * gaps.std(1, ddof=1)
            found[f"{ours} - {peer}"] = {
                "win": int((size > noise).sum()),
                "tie": int((np.abs(size) <= noise).sum()),
                "loss": int((size < -noise).sum()),
                "mean": round(float(size.mean()), 4),
            }
    return found


if __name__ == "__main__":
    sys.exit(main())
