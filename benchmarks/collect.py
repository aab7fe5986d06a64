"""What collecting costs beside the forward pass it rides on.

GPT-2-small shape with random weights, 8 x 128 tokens, 12 residual sites to disk as float16, one thread. Against: the body's own forward pass without the LM head, in
turn with it, so that a slow minute of the machine hits both; the figure is the median of the ratios of CPU-seconds, pair by pair.

    python benchmarks/collect.py                         # ours
    python benchmarks/collect.py --families              # capture of all streams in memory, every family, against its own bare body
    python benchmarks/collect.py --peer transformer_lens --python OTHER/bin/python
    python benchmarks/collect.py --peer nnsight --python OTHER/bin/python

The peers run in an environment of their own, with the same shape, tokens and sites, to the same kind of file, each against the bare body in that environment.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH, LENGTH, LAYERS, WIDTH, VOCABULARY = 8, 128, 12, 768, 50257
STREAM = {"hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 3072}
GATED = {**STREAM, "num_key_value_heads": 4, "head_dim": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GEMMA = {**GATED, "query_pre_attn_scalar": 64}
FAMILIES = {
    "gpt2": ("GPT2", {"n_embd": 768, "n_layer": 4, "n_head": 12, "n_positions": 256}),
    "llama": ("Llama", GATED),
    "mistral": ("Mistral", GATED),
    "qwen2": ("Qwen2", {key: value for key, value in GATED.items() if key != "head_dim"}),
    "qwen3": ("Qwen3", GATED),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3", GEMMA),
    "pythia": ("GPTNeoX", {**STREAM, "use_parallel_residual": True}),
    "neox-sequential": ("GPTNeoX", {**STREAM, "use_parallel_residual": False}),
    "opt": ("OPT", {"hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12, "ffn_dim": 3072}),
    "bert": ("Bert", STREAM),
    "distilbert": ("DistilBert", {"dim": 768, "n_layers": 4, "n_heads": 12, "hidden_dim": 3072}),
    "qwen3-experts": (
        "Qwen3Moe",
        {**GATED, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512},
    ),
}
"""Family -> prefix of its classes, and its configuration: 4 blocks of width 768."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--peer", choices=["transformer_lens", "nnsight"])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--families", nargs="*", help="families of FAMILIES; all if none is named")
    parser.add_argument("--inside", action="store_true", help="run the peer in this interpreter")
    given = parser.parse_args()
    if given.peer and not given.inside:
        command = [given.python, __file__, "--peer", given.peer, "--inside", "--pairs", str(given.pairs)]
        sys.exit(subprocess.run(command, check=False).returncode)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if given.families is not None:
        for name in given.families or FAMILIES:
            print(json.dumps(of_family(name, given.pairs)), flush=True)
        return
    ids = torch.randint(0, VOCABULARY, (BATCH, LENGTH))
    runs = {"transformer_lens": transformer_lens, "nnsight": nnsight, None: unweave}[given.peer](ids)
    print(json.dumps(paired(given.peer or "unweave", *runs, given.pairs)))


def of_family(name: str, pairs: int) -> dict[str, object]:
    """Capture of all streams of one family, 4 blocks of width 768 with random weights, against its bare body."""
    import torch
    import transformers

    import unweave as uw
    from unweave.models.points import body_of

    prefix, options = FAMILIES[name]
    config = getattr(transformers, f"{prefix}TextConfig" if prefix == "Gemma3" else f"{prefix}Config")(
        vocab_size=2048, max_position_embeddings=256, **options
    )
    module = getattr(transformers, f"{prefix}Model" if prefix != "Gemma3" else "Gemma3TextModel")(config).eval()
    model = uw.load_model(module, name=name)
    ids = torch.randint(0, 2048, (BATCH, LENGTH))
    sites = [site for site in model.sites() if site.component in ("resid_pre", "resid_mid", "resid_post")]
    body = body_of(module, model.family)

    def bare() -> object:
        with torch.no_grad():
            return body(ids, use_cache=False)

    found = paired(name, lambda: len(model.capture(ids, sites)), bare, pairs)
    kept = ("what", "pairs", "cpu_seconds", "bare_body_cpu_seconds", "cpu_ratio", "cpu_ratio_range")
    return {**{key: found[key] for key in kept}, "sites": len(sites)}


def paired(name: str, measured: Callable[[], int], bare: Callable[[], object], pairs: int) -> dict[str, object]:
    """Median CPU-seconds and wall seconds of both, and the median of their ratios; one pair to warm up."""
    rows = []
    size = 0
    for _ in range(pairs + 1):
        size, *first = timed(measured)
        _, *second = timed(bare)
        rows.append((*first, *second))
    rows = rows[1:]
    cpu, wall, bare_cpu, bare_wall = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = sorted(row[0] / row[2] for row in rows)
    return {
        "what": name,
        "pairs": pairs,
        "cpu_seconds": round(cpu, 3),
        "wall_seconds": round(wall, 3),
        "bare_body_cpu_seconds": round(bare_cpu, 3),
        "bare_body_wall_seconds": round(bare_wall, 3),
        "cpu_ratio": round(statistics.median(ratios), 3),
        "cpu_ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "activation_bytes": BATCH * LENGTH * LAYERS * WIDTH * 2,
        "bytes_on_disk": size,
    }


def timed(function: Callable[[], object]) -> tuple[object, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config()).eval()


def bare_body(module, ids) -> Callable[[], object]:
    import torch

    def run() -> object:
        with torch.no_grad():
            return module.transformer(ids, use_cache=False)

    return run


def unweave(ids) -> tuple[Callable[[], int], Callable[[], object]]:
    import unweave as uw

    module = gpt2()
    model = uw.load_model(module, name="gpt2-shape")
    sites = [f"blocks.{layer}.resid_post" for layer in range(LAYERS)]
    _ = model.fingerprint  # weights are hashed once a model, not once a collection

    def run() -> int:
        out = Path(tempfile.mkdtemp()) / "store"
        uw.collect(model, ids, sites, out, context=LENGTH, batch_tokens=BATCH * LENGTH, workers=1)
        return size_of(out)

    return run, bare_body(module, ids)


def transformer_lens(ids) -> tuple[Callable[[], int], Callable[[], object]]:
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    module = gpt2()
    module.config.architectures = ["GPT2LMHeadModel"]
    end = "<|endoftext|>"
    with tempfile.TemporaryDirectory() as folder:  # the bridge asks for a directory with a tokenizer, used or not
        module.config.save_pretrained(folder)
        words = Tokenizer(models.WordLevel({"a": 0, end: 1}, unk_token="a"))
        names = dict.fromkeys(("bos_token", "eos_token", "pad_token"), end)
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="a", **names).save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = TransformerBridge.boot_transformers(folder, hf_model=module, tokenizer=tokenizer)
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS)]

    def run() -> int:
        with torch.no_grad():
            _, cache = model.run_with_cache(ids, names_filter=lambda name: name in names)
        return written({name: cache[name].half().contiguous() for name in names}, save_file)

    return run, bare_body(gpt2(), ids)


def nnsight(ids) -> tuple[Callable[[], int], Callable[[], object]]:
    import torch
    from nnsight import NNsight
    from safetensors.torch import save_file

    module = gpt2()
    model = NNsight(module)

    def run() -> int:
        with torch.no_grad(), model.trace(ids):
            kept = list().save()  # noqa: C408 - a literal has no save()
            for layer in model.transformer.h:
                kept.append(layer.output)
        values = [value[0] if isinstance(value, tuple) else value for value in kept]
        return written(
            {f"blocks.{layer}.resid_post": value.half().contiguous() for layer, value in enumerate(values)}, save_file
        )

    return run, bare_body(module, ids)


def written(tensors, save_file) -> int:
    folder = Path(tempfile.mkdtemp())
    save_file(tensors, str(folder / "activations.safetensors"))
    return size_of(folder)


def size_of(folder: Path) -> int:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shutil.rmtree(folder.parent if folder.name == "store" else folder)
    return size


if __name__ == "__main__":
    main()
