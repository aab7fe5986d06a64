"""Figures of the causal tests: how much cheaper a batched patching suite is than a loop, and the error rates of the tests.

python benchmarks/evals.py patching          # 1000 prompts, all blocks of a partition, against the loop
python benchmarks/evals.py planted --nulls 500 --repeats 200 --calibration 20 --out rates.json
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

import unweave as uw
from unweave.evals.causing.changes import exchange
from unweave.evals.planted.negative import NEGATIVE, negative_rates
from unweave.evals.planted.suite import PLANTED, evaluate_planted
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


def planted_rates(options: argparse.Namespace) -> dict[str, object]:
    """Rates of every test and negative world, with whether they keep what the tests promise."""
    found: dict[str, object] = {}
    for name in options.test or [*PLANTED, *NEGATIVE]:
        start = time.process_time()
        if name in PLANTED:
            sizes = {"repeats": options.repeats, "nulls": options.nulls, "calibration": options.calibration}
            one = evaluate_planted(seed=options.seed, tests=[name], **sizes)["tests"][name]
            kept = one["false_positive_interval"][0] <= 0.05 and one["power"] >= 0.95
        else:
            sizes = {"repeats": options.repeats, "calibration": options.calibration}
            one = negative_rates(NEGATIVE[name], seed=options.seed, **sizes)
            kept = one["supported_rate"] <= 0.05
        found[name] = one | {"kept": kept, "cpu_seconds": round(time.process_time() - start, 1)}
        if options.out is not None:
            options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("patching", "planted"))
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--blocks", type=int, default=13)
    parser.add_argument("--model", default="zoo:docs")
    parser.add_argument("--nulls", type=int, default=500, help="false claims of each test")
    parser.add_argument("--repeats", type=int, default=500, help="true claims of each test, cards of negative worlds")
    parser.add_argument("--calibration", type=int, default=20, help="claims at each effect size and number of pairs")
    parser.add_argument(
        "--test",
        action="append",
        choices=[*PLANTED, *NEGATIVE],
        help="one test alone, or one negative world; repeatable",
    )
    parser.add_argument("--out", type=Path, help="JSON that is written again after every test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "patching":
        print(json.dumps(patching_suite(options.prompts, options.length, options.blocks, options.model), indent=1))
    else:
        print(json.dumps(planted_rates(options), indent=1))


if __name__ == "__main__":
    main()
