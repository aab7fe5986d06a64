"""How long `import unweave` and `unweave --help` take: medians of ten fresh processes, in turn with an empty interpreter.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "empty interpreter": [sys.executable, "-c", "pass"],
    "import unweave": [sys.executable, "-c", "import unweave"],
    "unweave --help": [str(Path(sys.executable).parent / "unweave"), "--help"],
}


def main() -> None:
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(11):
        for name, command in COMMANDS.items():
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[name].append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    medians = {
        name: [round(statistics.median(column), 3) for column in zip(*rows[1:], strict=True)]
        for name, rows in seconds.items()
    }
    print(json.dumps({name: {"wall_seconds": wall, "cpu_seconds": cpu} for name, (wall, cpu) in medians.items()}))


if __name__ == "__main__":
    main()
