"""The local interaction basis: the authors' stored numbers, speed and memory, and bases compared on five kinds of models.

    python benchmarks/interaction.py golden [--data ../shared/data]     gates of specs/lib.md, facts 1 to 8
    python benchmarks/interaction.py speed [--data ...]                 modular addition, seed 0: wall, CPU, memory
    python benchmarks/interaction.py compare [--only "digits, retrained"] [--bases lib,pca] [--seeds 0,1,2] [--out DIR]
                                                                        LIB, PCA, neurons, random: one table
    python benchmarks/interaction.py attention [--data ...]             attention in closed form against derivatives
    python benchmarks/interaction.py cost                               seconds against width, positions and inputs
    python benchmarks/interaction.py gpt2 [--tokens 4096]               one block of GPT-2 small's shape, random weights

Prints one JSON document. Seconds are process_time (all threads) unless they say wall; where a number is extrapolated it says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import interaction_subjects as subjects
from unweave.artifact import save
from unweave.features.affine import AffineFeaturizer
from unweave.interaction.ablation import ablate_nodes
from unweave.interaction.builders import modadd, sections_of
from unweave.interaction.comparing import compare
from unweave.interaction.edge_ablation import ablate_edges
from unweave.interaction.fit import fit
from unweave.interaction.measuring import measure_subject
from unweave.interaction.norms import Norm
from unweave.interaction.perceptron import Mlp
from unweave.models.checkpoints import read_state
from unweave.models.loading import load_model
from unweave.models.modadd import modadd_pairs, modadd_targets

LEFT_OUT = ("authors' modadd", "CIFAR-10 JPEG")
"""Compared only where asked for by name: the first has two checkpoints, the second needs Pillow."""
LAYERS = ("ln1.0", "ln2.0", "unembed")
TRAIN, TEST = modadd_pairs()
TARGETS = modadd_targets(TEST)


def peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def timed(function: Any, *given: Any, **options: Any) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = function(*given, **options)
    return found, {"wall": round(time.perf_counter() - wall, 3), "cpu": round(time.process_time() - cpu, 3)}


def golden(data: Path) -> dict[str, Any]:
    """Largest differences from the stored results, by seed and basis."""
    found = {}
    for seed in (0, 1):
        for basis in ("lib", "pca"):
            results = data / "lib/results"
            graph = torch.load(results / f"{basis}_seed{seed}_graph.pt", weights_only=True, map_location="cpu")
            nodes = json.loads((results / f"{basis}_seed{seed}_node_ablation.json").read_text())["results"]
            needed = json.loads((results / f"{basis}_seed{seed}_edge_ablation.json").read_text())["n_edges_required"]
            sections = modadd(read_state(data / f"lib/checkpoints/modadd_seed{seed}.pt"))
            made = fit(sections, TRAIN, basis=basis)
            ablated = ablate_nodes(made, sections, TEST, TARGETS)
            edges = ablate_edges(made, sections, TEST, TARGETS, envelope=False)
            one = {
                "edges needed, ours from scratch": {at.layer: at.needed for at in edges},
                "edges needed, stored": {layer: needed[layer] for layer in LAYERS},
                "accuracies that differ from the stored ones, of 144": sum(
                    abs(at.score - nodes[run.layer][str(at.kept)]) > 1e-9 for run in ablated for at in run.points
                ),
                "largest difference of an accuracy": max(
                    abs(at.score - nodes[run.layer][str(at.kept)]) for run in ablated for at in run.points
                ),
            }
            if basis == "lib":
                rotations = {at["node_layer"]: at for at in graph["interaction_rotations"]}
                for layer in LAYERS:
                    stored = rotations[layer]["Lambda"][1:31]
                    relative = ((made.lambdas[layer][:30] - stored) / stored).abs()
                    one[f"importances, {layer}: relative difference of the top 10, 20, 30"] = [
                        float(relative[:top].max()) for top in (10, 20, 30)
                    ]
                given = {
                    layer: AffineFeaturizer(
                        read=rotations[layer]["C"][:-1, 1:],
                        write=rotations[layer]["C_pinv"][1:, :-1],
                        origin=graph["mean_vectors"][layer][:-1],
                    )
                    for layer in LAYERS
                }
                again = fit(sections, TRAIN, basis=given)
                for edge in graph["edges"]:
                    pair = (edge["in_node_layer"], edge["out_node_layer"])
                    stored = (edge["E_hat"] if pair[1] == "output" else edge["E_hat"][1:])[:, 1:]
                    one[f"edges given the stored bases, {pair[0]}: difference over the largest"] = float(
                        (again.edges[pair] - stored).abs().max() / stored.max()
                    )
            found[f"{basis} seed {seed}"] = one
    return found


def speed(data: Path) -> dict[str, Any]:
    """Bases and edges, with sources, both ablations; memory is that of the process so far."""
    sections = modadd(read_state(data / "lib/checkpoints/modadd_seed0.pt"))
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "MB after imports": peak_mb()}
    result, found["bases and edges, first call"] = timed(fit, sections, TRAIN)
    found["MB after bases and edges"] = peak_mb()
    runs = [timed(fit, sections, TRAIN)[1] for _ in range(5)]
    found["bases and edges, best of 5"] = {key: min(one[key] for one in runs) for key in runs[0]}
    found["of it"] = {key: round(value, 3) for key, value in (result.seconds or {}).items()}
    for name, options in (("exact", {}), ("4 sources", {"sources": 4}), ("16 sources", {"sources": 16})):
        drawn, found[f"bases alone, {name}"] = timed(fit, sections, TRAIN, edges="none", **options)
        relative = ((drawn.lambdas["ln1.0"] - result.lambdas["ln1.0"]) / result.lambdas["ln1.0"]).abs()
        found[f"ln1.0 importances, {name}: worst relative difference of the top 15"] = float(relative[:15].max())
    _, found["node ablation, 144 points"] = timed(ablate_nodes, result, sections, TEST, TARGETS)
    _, found["edge bisect"] = timed(ablate_edges, result, sections, TEST, TARGETS, envelope=False)
    _, found["edge bisect with envelope"] = timed(ablate_edges, result, sections, TEST, TARGETS)
    found["MB after ablations"] = peak_mb()
    return found


def compared(data: Path, seeds: Sequence[int], asked: argparse.Namespace) -> dict[str, Any]:
    """Models under every basis and seed. The graphs of dense bases have few nulls and a bisection to one per cent: each
    draw and each trial is slow.
    """
    runs = []
    for name, make in subjects.names(data).items():
        if asked.only != name and (asked.only is not None or name in LEFT_OUT):
            continue
        for seed in seeds:
            subject = subjects.scored_on(make(seed), asked.scored)
            for basis in asked.bases.split(","):
                dense = basis not in ("lib", "pca", "global")
                run, seconds = timed(
                    measure_subject, subject, basis=basis, seed=seed, null=asked.null if asked.null is not None else 20 if dense else 100,
                    precision=0.01 if dense else 0.0, with_edges=asked.edges or subject.head is None,
                    options={"batch": 16} if subject.head is not None else {},
                )  # fmt: skip
                sys.stderr.write(f"{run!r}, {seconds['cpu']} CPU-seconds\n")
                if asked.out is not None:
                    save(run, asked.out / f"{name} {basis} {seed}")
                runs.append(run)
    return {"bases": compare(runs), "layers": compare(runs, each_layer=True)}


def attention(data: Path) -> dict[str, Any]:
    """The attention section of a language model's last block: exact, and by one source over positions with all hidden
    coordinates, which is what it cost without a closed form; then its edges, on two windows.
    """
    found = {}
    for subject in (subjects.stories(data), subjects.docs(context=64, windows=32)):
        section = subject.sections[0]
        closed_chain = list(subject.sections)
        without = [replace(section, form=None), *subject.sections[1:]]
        some = subject.inputs[:16]
        one: dict[str, Any] = {"windows of 64 tokens": len(some), "width": section.d_in}
        options = {"basis": subject.given, "edges": "none", "batch": 4}
        exact, one["bases, closed form"] = timed(fit, closed_chain, some, **options)
        drawn, one["bases, 1 source over positions"] = timed(fit, without, some, sources=(1, None), **options)
        top = exact.lambdas[exact.layers[0]]
        relative = ((drawn.lambdas[exact.layers[0]][:15] - top[:15]) / top[:15]).abs()
        one["1 source: worst relative difference of the top 15 importances"] = float(relative.max())
        pair = exact.layers[:2]
        bases = {layer: exact.bases[layer] for layer in pair}
        closed, one["edges of 2 windows, closed form"] = timed(fit, closed_chain[:1], some[:2], basis=bases)
        slow, one["edges of 2 windows, derivatives"] = timed(fit, without[:1], some[:2], basis=bases)
        most = slow.edges[pair].max()
        one["edges: largest difference over the largest"] = float(
            (closed.edges[pair] - slow.edges[pair]).abs().max() / most
        )
        found[subject.name] = one
    return found


def cost() -> dict[str, Any]:
    """A gated MLP behind a norm, then attention read everywhere."""
    found = {}
    for width, rows in ((64, 4096), (128, 4096), (256, 4096), (512, 4096), (256, 2048), (256, 8192)):
        section, x = mlp_section(width, rows)
        _, seconds = timed(fit, [section], x, edges="none", batch=64)
        _, whole = timed(fit, [section], x, batch=64)
        found[f"MLP {width} wide, {rows} positions"] = {"bases": seconds["cpu"], "with edges": whole["cpu"]}
    return found


def mlp_section(width: int, rows: int) -> tuple[Any, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5

    form = Mlp(
        w_in=draw(width, 4 * width), b_in=torch.zeros(4 * width).double(), w_out=draw(4 * width, width),
        b_out=torch.zeros(width).double(), act="gelu_new", skip=True,
        norm=Norm(weight=torch.ones(width).double(), bias=torch.zeros(width).double()),
    )  # fmt: skip
    return sections_of([form], ["a", "b"], lambda x: x)[0], draw(rows // 16, 16, width) * width**0.5


def gpt2(tokens: int) -> dict[str, Any]:
    """One block of GPT-2 small's shape with random weights, exact and attention by sources too."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from unweave.interaction.builders import chain

    torch.manual_seed(0)
    model = load_model(GPT2LMHeadModel(GPT2Config(n_layer=1)), name="gpt2-shaped")
    sections = chain(model, ["blocks.0.resid_pre", "blocks.0.resid_mid", "blocks.0.resid_post"])
    ids = torch.randint(0, 50257, (tokens // 128, 128), generator=torch.Generator().manual_seed(0))
    found: dict[str, Any] = {"tokens": tokens, "MB before": peak_mb(), "sections": [one.kind for one in sections]}
    _, found["MLP section, exact basis"] = timed(fit, sections[1:], ids, edges="none", batch=4)
    found["MB after the MLP section"] = peak_mb()
    _, found["MLP section, basis and edges on 256 tokens"] = timed(fit, sections[1:], ids[:2], batch=2)
    found["MB after its edges"] = peak_mb()
    few = ids[:2]
    _, found["attention section, 1 source over positions and 16 hidden, 256 tokens"] = timed(
        fit, sections, few, edges="none", sources=(1, 16), batch=2
    )
    _, found["attention section, exact basis, 256 tokens"] = timed(fit, sections[:1], few, edges="none", batch=2)
    _, found["attention section, exact basis, 512 tokens"] = timed(fit, sections[:1], ids[:4], edges="none", batch=2)
    _, found["attention section, basis and edges, 128 tokens"] = timed(fit, sections[:1], ids[:1], batch=1)
    found["MB after the attention section"] = peak_mb()
    exact = found["MLP section, exact basis"]["cpu"] * 100_000 / tokens
    edges = found["MLP section, basis and edges on 256 tokens"]["cpu"] * 100_000 / 256
    found["extrapolated to 100,000 tokens, CPU-seconds"] = {"exact MLP basis": round(exact), "MLP edges": round(edges)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["golden", "speed", "compare", "cost", "attention", "gpt2"])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument(
        "--seeds", default="0", help="0,1,2: of the random basis, the training or the data, see interaction_subjects.py"
    )
    parser.add_argument("--only")
    parser.add_argument("--edges", action="store_true", help="ablate edges of language models too")
    parser.add_argument(
        "--null", type=int, help="rewired graphs; 0 leaves modules out; 100 if not given, 20 for dense bases"
    )
    parser.add_argument("--scored", type=int, help="ablations are scored on so many held-out inputs, evenly spread")
    parser.add_argument("--out", type=Path, help="keep every run there, for unweave lib compare")
    parser.add_argument("--bases", default="lib,pca,neuron,random")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    run = {
        "golden": lambda: golden(asked.data), "speed": lambda: speed(asked.data), "cost": cost,
        "compare": lambda: compared(asked.data, [int(one) for one in asked.seeds.split(",")], asked),
        "attention": lambda: attention(asked.data), "gpt2": lambda: gpt2(asked.tokens),
    }[asked.what]  # fmt: skip
    print(json.dumps(run(), indent=1, default=float))


if __name__ == "__main__":
    main()
