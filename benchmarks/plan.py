"""What `--dry-run` says against what then happens: rows and bytes to the last one, memory and time as ratios.

    python benchmarks/plan.py
    python benchmarks/plan.py --cpu     # plan and measure in CPU-seconds: on a busy machine

Each collection is planned and then made in a process of its own, one worker, one thread. Memory is the high-water mark of resident memory (VmHWM) beyond what the
process had before planning.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import json, sys, time, unweave as uw
from unweave.activations.collect import CollectOptions
from unweave.activations.plan import plan_collection
from unweave.config import config_from

if sys.argv[2:] == ["--cpu"]:
    time.perf_counter = time.process_time

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

source, documents, sites, dtype, out = json.loads(sys.argv[1])
model = uw.load_model(source)
paragraph = "The for statement is used to iterate over the elements of a sequence. " * 12
texts = [f"{number} {paragraph}" for number in range(documents)]
before = kilobytes("VmRSS")
options = config_from(CollectOptions, {"context": 128, "dtype": dtype}, source="options")
plan = plan_collection(model, texts, sites, options, workers=1)
open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts from here
start, cpu = time.perf_counter(), time.process_time()
store = uw.collect(model, texts, sites, out, context=128, dtype=dtype, workers=1)
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
peak = kilobytes("VmHWM")  # before the store is read: mapped files count as resident
written = sum(store[site][:].numel() * store[site][:].element_size() for site in store.sites)
print(json.dumps({
    "rows": [plan.rows, len(store)], "bytes": [plan.activation_bytes, written],
    "memory_mb": [round(plan.peak_bytes / 2**20, 1), round((peak - before) / 1024, 1)],
    "seconds": [round(plan.seconds, 2), round(seconds, 2)], "cpu_seconds": round(cpu_seconds, 2),
}))
"""

CASES = {
    "zoo:docs, all streams": ("zoo:docs", 300, ["blocks.*.resid_post"], "float16"),
    "zoo:docs, neurons": ("zoo:docs", 300, ["blocks.*.mlp_act"], "float16"),
    "zoo:docs, everything, float32": ("zoo:docs", 200, ["blocks.*.*"], "float32"),
    "minilm, all streams": ("minilm", 150, ["blocks.*.resid_post"], "float16"),
}


def main() -> None:
    on_cpu = ["--cpu"] if "--cpu" in sys.argv else []
    chosen = [name for name in sys.argv[1:] if name != "--cpu"] or list(CASES)
    for name in chosen:
        source, documents, sites, dtype = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            given = json.dumps([source, documents, sites, dtype, str(Path(folder) / "store")])
            done = subprocess.run(
                [sys.executable, "-c", CHILD, given, *on_cpu], capture_output=True, text=True, check=False
            )
        if done.returncode:
            print(json.dumps({"case": name, "failed": done.stderr.strip().splitlines()[-1]}))
            continue
        found = json.loads(done.stdout)
        ratios = {key: round(found[key][0] / max(found[key][1], 1e-9), 3) for key in ("memory_mb", "seconds")}
        print(json.dumps({"case": name, **found, "planned_over_measured": ratios}))


if __name__ == "__main__":
    main()
