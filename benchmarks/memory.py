"""Peak memory of a collection of one amount of text and of ten times as much: it must not grow with the corpus.

    python benchmarks/memory.py

Each collection runs in a process of its own; the figure is the high-water mark of resident memory that the kernel keeps for it (VmHWM).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CHILD = """
import sys, resource, unweave as uw
model = uw.load_model("zoo:docs")
paragraph = "The for statement is used to iterate over the elements of a sequence. " * 12
texts = (f"{number} {paragraph}" for number in range(int(sys.argv[1])))
store = uw.collect(model, texts, "blocks.*.resid_post", sys.argv[2], shard_rows=8192, workers=2)
status = open("/proc/self/status").read()
print(len(store), next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def main() -> None:
    found = {}
    for documents in (200, 2000):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", CHILD, str(documents), str(Path(folder) / "store")]
            rows, kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            found[documents] = {"rows": int(rows), "peak_mb": round(int(kilobytes) / 1024, 1)}
    ratio = found[2000]["peak_mb"] / found[200]["peak_mb"]
    print(json.dumps({"documents": found, "peak_ratio_10x": round(ratio, 4)}))


if __name__ == "__main__":
    main()
