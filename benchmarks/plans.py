"""What `--dry-run` of the long commands says against what then happens: time, memory and bytes on disk as ratios, planned over measured.

    python benchmarks/plans.py                       # all of CASES
    python benchmarks/plans.py "lib fit" "ndm fit"   # some

Plan and command run in two children of one process that has imported everything, so both begin with the same memory. What was measured is in CPU-seconds on one
processor: what an idle machine takes, which is what a plan states (`unweave.engine.clock`). It includes what the command does before its work (loading a model).
Memory is the high-water mark beyond what the child began with. `collect` has a benchmark of its own (plan.py).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unweave.models.zoo.recipe import RECIPES

PARAGRAPHS = (
    "The for statement iterates over {n} elements of a sequence. ",
    "A class with {n} methods inherits from object. ",
    "Nothing is returned. ",
)


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    imports()
    RECIPES["docs-xs"] = replace(RECIPES["docs-xs"], epochs=1)  # all 24 take a quarter of an hour
    with tempfile.TemporaryDirectory() as folder:
        cases = CASES(prepared(Path(folder)))
        for name in sys.argv[1:] or cases:
            print(
                json.dumps(
                    {
                        "case": name,
                        **measured(cases[name], Path(folder) / "out" / name.replace(" ", "-").replace(",", "")),
                    }
                ),
                flush=True,
            )


def CASES(folder: Path) -> dict[str, list[str]]:  # noqa: N802 - a table that needs a folder
    """Name -> the command."""
    store, text, pairs = str(folder / "store"), str(folder / "text.txt"), str(folder / "pairs.jsonl")
    probe = ["probe", "sweep", store, "--selector", "std_mean_diff", "--controls", "few"]
    return {
        "zoo train": ["zoo", "train", "digits"],
        "evaluate planted": [
            "evaluate",
            "planted",
            "--repeats",
            "20",
            "--test",
            "mean ablation",
            "--test",
            "steering",
            "--calibration",
            "2",
        ],
        "superpose synthetic": ["superpose", "synthetic", "--width", "2:8", "--steps", "1500"],
        "superpose text": [
            "superpose",
            "text",
            text,
            "--vocab",
            "300",
            "--width",
            "20",
            "--decay",
            "0,1",
            "--documents",
            "stream",
        ],
        "lib fit": ["lib", "fit", "--model", "zoo:digits"],
        "lib fit, a language model": [
            "lib",
            "fit",
            "--model",
            "zoo:docs-xs",
            "--text",
            text,
            "--context",
            "32",
            "--basis",
            "pca",
        ],
        "directions": ["directions", pairs, "--model", "zoo:docs-xs"],
        "ndm fit": ["ndm", "fit", store, "--site", "blocks.2.resid_post", "--unit-size", "16", "--preset", "quick"],
        "probe sweep": probe,
        "compare": [
            "compare",
            "pca",
            "random",
            "neurons",
            "--model",
            "zoo:docs-xs",
            "--pairs",
            str(folder / "answers.jsonl"),
            "--site",
            "blocks.2.resid_post",
        ],
        "evaluate run": ["evaluate", "run", "--model", "planted", "--suite", "ioi", "--prompts", "60"],
        "zoo train docs-xs, one epoch": ["zoo", "train", "docs-xs"],
        "study": ["study", "--model", "zoo:docs-xs"],
    }


def imports() -> None:
    """Everything that the commands import, so that it does not count."""
    import altair as alt  # noqa: F401
    import scipy.optimize  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import unweave.cli.main  # noqa: F401

    torch.set_num_threads(1)


def prepared(folder: Path) -> Path:
    """A text, a store and pairs."""
    lines = [PARAGRAPHS[n % 3].format(n=n) * 6 for n in range(400)]
    (folder / "text.txt").write_text("\n\n".join(lines))
    records = [{"positive": f"The {n} tests pass.", "negative": f"The {n} tests fail.", "group": n} for n in range(300)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, records)))
    ends = {"a number": " of", "Changed in version": " 3"}  # what the model says after them
    answers = [
        {"base": f"The {n} {one}", "base_answer": ends[one], "source": f"The {n} {other}", "answer": ends[other]}
        for n in range(100, 250)
        for one, other in (tuple(ends), tuple(ends)[::-1])
    ]
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    # in a child: a model that was loaded here would count as memory that is there already
    child(
        [
            "collect",
            "--model",
            "zoo:docs-xs",
            "--site",
            "blocks.*.resid_post",
            "--text",
            str(folder / "text.txt"),
            "--out",
            str(folder / "store"),
            "-q",
        ]
    )
    return folder


def measured(command: Sequence[str], out: Path) -> dict[str, object]:
    """Plan, command, and their ratios."""
    plan, planning = child([*command, "--dry-run", "--json", "--out", str(out)])
    told, taken = child([*command, "--json", "-q", "--out", str(out)])
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if "plans" in plan:  # a study: a plan a model
        plan = {
            "seconds": sum(one["seconds"] for one in plan["plans"]),
            "peak_bytes": plan["plans"][0]["peak_bytes"],
            "disk_bytes": sum(one["disk_bytes"] for one in plan["plans"]),
        }
    found = {"seconds": taken["seconds"], "peak_bytes": taken["peak_bytes"], "disk_bytes": written}
    return {
        "planned": {name: round(plan[name], 2) for name in found},
        "measured": {name: round(value, 2) for name, value in found.items()},
        "ratio": {name: round(plan[name] / max(value, 1e-9), 3) for name, value in found.items()},
        "planning_seconds": round(planning["seconds"], 2),
        "said": list(told)[:4],
    }


def child(command: Sequence[str]) -> tuple[dict, dict]:
    """What a command printed, and what it took."""
    with tempfile.TemporaryDirectory() as folder:
        shown, facts = Path(folder) / "shown", Path(folder) / "facts"
        number = os.fork()
        if number == 0:
            _run(command, shown, facts)
        if os.waitpid(number, 0)[1]:
            raise SystemExit(f"{' '.join(command)} ended badly")
        text = shown.read_text().strip().splitlines()
        return json.loads(text[-1]) if text and text[-1].startswith("{") else {}, json.loads(facts.read_text())


def _run(command: Sequence[str], shown: Path, facts: Path) -> None:
    from unweave.cli.main import run

    os.dup2(os.open(shown, os.O_WRONLY | os.O_CREAT), 1)
    sys.stdout = os.fdopen(1, "w")
    sys.argv = ["unweave", *command]
    before, start = _kilobytes("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")
    code = run(list(command))
    sys.stdout.flush()
    seconds = time.process_time() - start
    facts.write_text(json.dumps({"seconds": seconds, "peak_bytes": 1024 * (_kilobytes("VmHWM") - before)}))
    os._exit(code)


def _kilobytes(name: str) -> int:
    return next(
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )


if __name__ == "__main__":
    main()
