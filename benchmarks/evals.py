"""Figures of the causal tests: how much cheaper a batched patching suite is than a loop, and the error rates of the tests.

python benchmarks/evals.py patching          # 1000 prompts, all blocks of a partition, against the loop
python benchmarks/evals.py planted --nulls 500
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import torch

import unweave as uw
from unweave.evals.changes import exchange
from unweave.evals.planted.suite import evaluate_planted
from unweave.features.bases import random_rotation
from unweave.models.tokens import Tokens


def patching_suite(prompts: int, length: int, blocks: int, source: str) -> dict[str, object]:
    """CPU-seconds of the suite and of the loop prompt by prompt and block by block, and how far apart they are."""
    model = uw.load_model(source)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, model.vocabulary_size or 100, (2, prompts, length), generator=generator)
    base, other = (Tokens(ids=one, mask=torch.ones_like(one, dtype=torch.bool)) for one in ids)
    depth = 1 + max(site.layer for site in model.sites() if site.layer is not None)
    site = f"blocks.{(depth * 9) // 12}.resid_post"
    width = model.width(site)
    sizes = [width // blocks] * (blocks - 1)
    basis = replace(random_rotation(width), site=site, blocks=(*sizes, width - sum(sizes)))
    measure = uw.evals.logit_difference([3] * prompts, [4] * prompts)

    start = time.process_time()
    ready = uw.evals.patching(model, site, base, other, positions="last")
    changes = [None, *(exchange(ready, basis, [block]) for block in range(blocks))]
    together = uw.evals.scores(ready, changes, measure)
    batched = time.process_time() - start

    few = min(prompts, 60)
    start = time.process_time()
    alone = torch.zeros(blocks + 1, few, dtype=torch.float64)
    with torch.no_grad():
        for row in range(few):
            one, two = base.ids[row : row + 1], other.ids[row : row + 1]
            for number in range(blocks + 1):
                logits = model(one) if number == 0 else uw.evals.interchange(model, basis, number - 1, one, two, "last")
                alone[number, row] = float(logits[0, -1, 3] - logits[0, -1, 4])
    loop = (time.process_time() - start) * prompts / few
    return {
        "model": source, "prompts": prompts, "length": length, "blocks": blocks, "site": site,
        "batched_cpu_seconds": round(batched, 2), "loop_cpu_seconds": round(loop, 2),
        "loop_measured_on": few, "ratio": round(batched / loop, 4),
        "largest_difference": float((torch.from_numpy(together[:, :few]) - alone).abs().max()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("patching", "planted"))
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--blocks", type=int, default=13)
    parser.add_argument("--model", default="zoo:docs")
    parser.add_argument("--nulls", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "patching":
        print(json.dumps(patching_suite(options.prompts, options.length, options.blocks, options.model), indent=1))
    else:
        print(json.dumps(evaluate_planted(seed=options.seed, repeats=options.nulls), indent=1))


if __name__ == "__main__":
    main()
