"""Figures of the causal tests: how much cheaper a batched patching suite is than a loop, and the error rates of the tests;
and the scores of dictionaries on a real model.

python benchmarks/evals.py patching          # 1000 prompts, all blocks of a partition, against the loop
python benchmarks/evals.py components --repeats 100 --prompts 24    # components of planted language models
python benchmarks/evals.py scores --model zoo:docs --site blocks.2.resid_post
python benchmarks/evals.py scores --model ../shared/data/models/stories260K --text ../shared/data/text/corpora/tinystories_1000.json.gz
python benchmarks/evals.py planted --nulls 500 --repeats 200 --calibration 20 --out rates.json
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import unweave as uw
from unweave.activations.token_strings import token_string_features
from unweave.evals.causing.changes import exchange
from unweave.evals.causing.components import component_patching
from unweave.evals.contenders import contenders_of
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.planted.negative import NEGATIVE, binomial_interval, negative_rates
from unweave.evals.planted.suite import PLANTED, evaluate_planted
from unweave.evals.suites.tasks.behaviour import CARRYING
from unweave.features.bases import random_rotation
from unweave.models.tokens import Tokens
from unweave.study.texts import study_text


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


def component_rates(options: argparse.Namespace) -> dict[str, object]:
    """How often components that carry a planted style are supported, and those that carry what goes with it."""
    verdicts: dict[str, list[bool]] = {name: [] for name in CARRYING}
    start = time.process_time()
    for turn in range(options.repeats):
        seed = 1000 * options.seed + turn
        world = style_world(seed=seed, decoys=True)
        sides = [world.prompts(options.prompts, seed=seed, tag=tag) for tag in (TAG_AGAINST, TAG_FOR)]
        (base, _, measure), (source, _, _) = (world.continued(one, seed=seed, length=6) for one in sides)
        found = component_patching(world.model, base, source, measure, named=tuple(CARRYING), choose=0, seed=seed)
        for one in found.components:
            if one.finding is not None:
                verdicts[one.name].append(one.finding.supported)
    decoys = [name for name, carries in CARRYING.items() if not carries]
    wrong = int(np.any([verdicts[name] for name in decoys], 0).sum())
    return {
        "worlds": options.repeats, "prompts": options.prompts,
        "supported": {name: float(np.mean(own)) for name, own in verdicts.items()},
        "any_decoy": wrong / options.repeats, "any_decoy_interval": binomial_interval(wrong, options.repeats),
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def dictionary_scores(options: argparse.Namespace) -> dict[str, object]:
    """Every score of every decomposition, fitted on the activations of half of the documents, scored on the others."""
    model = uw.load_model(options.model)
    if options.text is not None and options.text.endswith(".json.gz"):
        texts = [one[:2000] for one in json.loads(gzip.decompress(Path(options.text).read_bytes()))]
    else:
        texts = study_text(options.text, options.model).texts
    texts = texts[: options.documents]
    with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
        store = uw.collect(model, texts, options.site, Path(folder) / "store", context=128, dtype="float32")
        rows = torch.from_numpy(np.asarray(store[options.site])).double()
        documents = np.asarray(store.rows["document"])
        labels = {one.name: (one.index, one.values) for one in token_string_features(store, model.tokenizer)}
    names = ("leading_capital", "has_leading_space", "is_not_alphanumeric", "no_leading_space_and_loweralpha")
    known = {name: np.zeros(len(rows), bool) for name in names}
    for name, own in known.items():
        own[labels[name][0]] = labels[name][1]
    fitted = np.isin(documents, np.unique(documents)[::2])
    rng = np.random.default_rng(options.seed)
    fit, report = (np.sort(rng.permutation(np.flatnonzero(side))[: options.rows]) for side in (fitted, ~fitted))
    X, groups = rows[report], documents[report]
    y, cue = known[names[0]][report], known[names[1]][report]
    topics = np.where(known[names[2]][report], 2, np.where(known[names[3]][report], 1, 0))
    made = contenders_of(
        rows[fit], site=options.site, names=("pca", "ica", "neurons", "topk", "topk-frozen"), steps=options.steps,
        seed=options.seed,
    )  # fmt: skip
    found: dict[str, object] = {
        "model": options.model, "site": options.site, "fitted_on": len(fit), "scored_on": len(report),
        "documents": len(np.unique(groups)), "positives": int(y.sum()), "cue": int(cue.sum()),
    }  # fmt: skip
    for name, one in made.items():
        start = time.process_time()
        found[name] = _scores(one, X, (y, cue, topics, groups), options) | {
            "cpu_seconds": round(time.process_time() - start, 1)
        }
        if options.out is not None:
            options.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _scores(one: uw.Featurizer, X: torch.Tensor, told: tuple, options: argparse.Namespace) -> dict[str, object]:
    y, cue, topics, groups = told
    seed = options.seed
    bits = uw.evals.code_length(one.encode(X)[0], y, groups, seed, shuffles=1)
    described: dict[str, object] = {}
    for tolerance in options.tolerance:
        try:
            described[str(tolerance)] = uw.evals.description_length(one, X, groups, seed, tolerance=tolerance).row()
        except uw.errors.DataError as error:
            described[str(tolerance)] = str(error)
    return {
        "fvu": uw.evals.reconstruction(one, X, groups, seed).fvu.value,
        "l0": uw.evals.sparsity(one, X, groups, seed).l0.value,
        "absorption": uw.evals.absorption(one, X, y, groups, seed).row(),
        "spurious_removal": uw.evals.spurious_removal(one, X, y, cue, groups, seed, units=5).row(),
        "targeted_perturbation": uw.evals.targeted_perturbation(one, X, topics, groups, seed, units=5).row(),
        "code_length": {"bits": bits.bits.value, "low": bits.bits.low, "high": bits.bits.high, "rate": bits.bits.null,
                        "compression": bits.compression},
        "description_length": described,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("patching", "planted", "components", "scores"))
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
    parser.add_argument("--site", default="blocks.2.resid_post", help="of the scores")
    parser.add_argument("--text", help="texts of the scores; a zoo model has its own")
    parser.add_argument("--documents", type=int, default=120)
    parser.add_argument("--rows", type=int, default=3000, help="to fit on, and to score on")
    parser.add_argument("--steps", type=int, default=1500, help="of training a dictionary")
    parser.add_argument("--tolerance", type=float, action="append", help="of the description length; repeatable")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "patching":
        print(json.dumps(patching_suite(options.prompts, options.length, options.blocks, options.model), indent=1))
    elif options.what == "components":
        print(json.dumps(component_rates(options), indent=1))
    elif options.what == "scores":
        options.tolerance = options.tolerance or [0.1, 0.4]
        print(json.dumps(dictionary_scores(options), indent=1))
    else:
        print(json.dumps(planted_rates(options), indent=1))


if __name__ == "__main__":
    main()
