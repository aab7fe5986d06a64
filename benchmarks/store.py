"""What keeping activations costs: writing and reading shards, here and as ranges, in every dtype.

One shard of about 64 MB (or what is asked for) of random rows at several sites, one thread, CPU-seconds, medians. `write` is the format alone, `checksum` the
sha256 that goes into the manifest, `shard` both with texts and entry, as a collection writes it.

    python benchmarks/store.py                    # all dtypes
    python benchmarks/store.py --share            # beside it: seconds of the model for the same rows (GPT-2-small shape, 12 sites)
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from unweave.activations.layout import COLUMNS, Collection
from unweave.activations.store import open_store
from unweave.activations.writing import ShardContent, Task, write_shard, write_store
from unweave.files import file_sha256, write_file, write_tensors
from unweave.site import Site

WIDTH, SITES = 768, 12


class Given:
    """The work of one shard that is there already."""

    index = 0

    def inputs_sha256(self) -> str:  # noqa: D102
        return "0" * 64

    def span(self) -> str:  # noqa: D102
        return "0..0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--share", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in ("float32", "float16", "bfloat16", "uint8"):
        print(json.dumps(measured(dtype, given.megabytes, given.repeats)))
    if given.share:
        print(json.dumps(share(given.repeats)))


def measured(dtype: str, megabytes: int, repeats: int) -> dict[str, object]:
    """MB of float32 or of the dtype, as stored, a CPU-second."""
    rows = megabytes * 1_000_000 // (4 * WIDTH * SITES)
    kept = torch.float32 if dtype == "uint8" else getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    values = {
        Site(f"blocks.{n}.resid_post"): torch.randn(rows, WIDTH, generator=generator).to(kept) for n in range(SITES)
    }
    stored = sum(value.numel() for value in values.values()) * (1 if dtype == "uint8" else kept.itemsize) / 1e6
    told: dict[str, object] = {
        "dtype": dtype,
        "rows": rows,
        "sites": SITES,
        "width": WIDTH,
        "stored_megabytes": round(stored, 1),
    }
    folder = Path(tempfile.mkdtemp())
    try:
        collection, content = described(dtype, values), shard_of(values, rows)
        if dtype != "uint8":
            plain = {f"activations/{site}": value for site, value in values.items()}
            file = folder / "plain.safetensors"
            told["write"] = speed(stored, repeats, lambda: write_tensors(plain, file))
            told["write_flushed"] = speed(
                stored, repeats, lambda: write_file(file, lambda path: write_tensors(plain, path))
            )
            told["checksum"] = speed(stored, repeats, lambda: file_sha256(file))
        place = folder / "s"
        (place / "shards").mkdir(parents=True)
        told["shard"] = speed(stored, repeats, lambda: write_shard(place, 0, collection, content, "0" * 64))
        task = Task(title="benchmark", expected_rows=None)
        make = lambda unit: write_shard(place, unit.index, collection, content, "0" * 64)  # noqa: E731
        write_store(place, collection, [Given()], make, task=task, resume=False, workers=1)
        told |= read(place, rows, stored, repeats)
    finally:
        shutil.rmtree(folder)
    return told


def read(place: Path, rows: int, stored: float, repeats: int) -> dict[str, object]:
    """MB a CPU-second of all rows in order; rows a CPU-second of a random tenth."""
    store = open_store(place, verify=False)
    column = store["blocks.3.resid_post"]
    chosen = np.random.default_rng(0).integers(0, rows, max(1, rows // 10))
    in_order = speed(stored / SITES, repeats, lambda: column[:])
    seconds = median(repeats, lambda: column[chosen])
    return {"read_in_order": in_order, "rows_gathered_a_second": round(len(chosen) / seconds)}


def described(dtype: str, values: dict[Site, torch.Tensor]) -> Collection:
    widths = {str(site): value.shape[1] for site, value in values.items()}
    return Collection(
        kind="rows", sites=widths, context=None, dtype=dtype, shard_rows=10**6, batch_tokens=1, special="exclude", keep_text=True, model="", model_name="random",
        tokenizer=None,
    )  # fmt: skip


def shard_of(values: dict[Site, torch.Tensor], rows: int) -> ShardContent:
    """Documents of 128 rows."""
    number = np.arange(rows, dtype=np.int32) // 128
    count = int(number[-1]) + 1
    ends = torch.tensor([min(rows, 128 * (one + 1)) for one in range(count)])
    documents = {
        "index": torch.arange(count, dtype=torch.int32),
        "ends": ends,
        "ids": torch.zeros(rows, dtype=torch.int32),
    }
    documents["offsets"] = torch.zeros(rows, 2, dtype=torch.int32)
    return ShardContent(
        activations=values,
        columns={name: number.copy() for name in COLUMNS},
        documents={f"documents/{name}": value for name, value in documents.items()},
        texts={
            "documents": [{"document": one, "id": None, "text": "word " * 128} for one in range(count)],
            "tokens": {"0": "word"},
        },
    )


def share(repeats: int) -> dict[str, object]:
    """Seconds of the body of GPT-2-small's shape for 1,024 tokens, and of keeping its 12 residual sites in float16."""
    from transformers import GPT2Config, GPT2LMHeadModel

    module = GPT2LMHeadModel(GPT2Config()).eval()
    ids = torch.randint(0, 50257, (8, 128), generator=torch.Generator().manual_seed(0))
    values = {Site(f"blocks.{n}.resid_post"): torch.randn(1024, WIDTH).half() for n in range(SITES)}
    folder = Path(tempfile.mkdtemp())
    (folder / "shards").mkdir()
    collection, content = described("float16", values), shard_of(values, 1024)

    def run() -> object:
        with torch.no_grad():
            return module.transformer(ids, use_cache=False)

    try:
        kept = median(4 * repeats, lambda: write_shard(folder, 0, collection, content, "0" * 64))
        model = median(max(3, repeats // 2), run)
    finally:
        shutil.rmtree(folder)
    return {
        "tokens": 1024,
        "model_seconds": round(model, 3),
        "kept_seconds": round(kept, 4),
        "share": round(kept / model, 4),
    }


def speed(megabytes: float, repeats: int, function: Callable[[], object]) -> int:
    return round(megabytes / median(repeats, function))


def median(repeats: int, function: Callable[[], object]) -> float:
    """CPU-seconds, after one run to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return max(1e-6, statistics.median(seconds[1:]))


if __name__ == "__main__":
    main()
