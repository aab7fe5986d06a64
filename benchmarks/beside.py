"""Whether unweave works beside the libraries that its users have: an environment for each, and a smoke test in it.

    python benchmarks/beside.py                     # all of PEERS, each in a fresh environment (needs a package index)
    python benchmarks/beside.py nnsight --keep DIR  # one, and leave the environment there

In every environment: torch of constraints.txt, the peer, unweave from this checkout; then `unweave doctor`, and `beside_smoke.py` with the peer imported before and after
ours. One JSON line each: what was installed, how large it is, whether it works. Nothing is compiled beforehand, which takes longer than the downloads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = ("transformer-lens", "nnsight", "sae-lens")
SMOKE = Path(__file__).with_name("beside_smoke.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--keep", type=Path, help="directory for the environments; else they are deleted")
    given = parser.parse_args()
    for peer in given.peers or PEERS:
        folder = Path(tempfile.mkdtemp()) if given.keep is None else given.keep / peer
        print(json.dumps(beside(peer, folder)), flush=True)
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def beside(peer: str, folder: Path) -> dict[str, object]:
    """Builds one environment and says what works in it."""
    start = time.perf_counter()
    venv.create(folder, with_pip=True, clear=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    found: dict[str, object] = {"peer": peer, "torch": torch}
    for step, command in {
        "install peer": [python, "-m", "pip", "install", "-q", "--no-compile", torch, peer],
        "install unweave": [python, "-m", "pip", "install", "-q", "--no-compile", torch, str(ROOT)],
        "doctor": [python, "-m", "unweave", "doctor", "--json"],
        "peer first": [python, str(SMOKE), "before", peer],
        "unweave first": [python, str(SMOKE), "after", peer],
    }.items():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            return {**found, "works": False, "failed": step, "said": last[:300]}
        if step == "doctor":
            facts = json.loads(done.stdout)
            found |= {"beside": facts["beside"][peer], "versions": facts["versions"], "problems": facts["problems"]}
        if step == "unweave first":
            found |= {"checked": json.loads(done.stdout.splitlines()[-1])["checked"]}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return {**found, "works": True, "megabytes": round(size / 1e6), "seconds": round(time.perf_counter() - start)}


if __name__ == "__main__":
    main()
