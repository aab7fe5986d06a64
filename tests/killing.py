"""A nursery of collections that are killed: it imports torch once, then forks a child for each attempt.

Run as a program: `python killing.py FOLDER KILLS SEED [steps]` kills at that many random moments (in FOLDER/random) and
at every step of writing (in FOLDER/steps), and prints a JSON object with what happened. Torch runs on one thread and
the parent never computes, so no thread exists when it forks. `whole` is the undisturbed collection, all others were
killed and taken up again.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - imported before the fork, so that a child's time is work
import safetensors.torch  # noqa: F401
import torch

import stores
import unweave.activations.collect
import unweave.files

TEXTS = [f"{number} bottles of beer on the wall, " * (number % 7) for number in range(30)]


def collection(folder: Path) -> None:
    """What a child does that is killed at random: thirteen shards."""
    stores.collected(folder, TEXTS, shard_rows=200, batch_tokens=256, context=32, workers=2)


def small_collection(folder: Path) -> None:
    """What a child does that dies at one step: two shards."""
    stores.collected(folder, TEXTS[:8], shard_rows=400, batch_tokens=256, context=32, workers=1)


def forked(work: Callable[..., None], *args: Any) -> int:
    """The process id of a child that does the work and leaves at once."""
    child = os.fork()
    if child:
        return child
    try:
        work(*args)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - a child must not go on with the parent's program
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def killed_after(seconds: float, work: Callable[..., None], *args: Any) -> bool:
    """Whether a child that does the work was still at it when it was killed.

    Raises:
        RuntimeError: It ended with an error of its own.
    """
    reading, writing = os.pipe()  # the child's end closes when it ends
    child = forked(work, *args)
    os.close(writing)
    select.select([reading], [], [], seconds)
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    return not completed(child)


def completed(child: int) -> bool:
    """Whether the child did its work, False if it was killed."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"the child ended with status {status}")
    return True


def kill_at_random(folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Collections killed at random moments and taken up again, until so many kills have landed."""
    start = time.perf_counter()
    if not completed(forked(collection, folder / "whole")):
        raise RuntimeError("the undisturbed collection was killed")
    seconds = time.perf_counter() - start
    generator, landed, number, finished_before = random.Random(seed), 0, 0, []
    while landed < kills:
        out = folder / f"{number}"
        if killed_after(generator.uniform(0, seconds), collection, out):
            landed += 1
            finished_before.append(len(list((out / "shards").glob("?????.json"))) if out.exists() else -1)
        else:
            number += 1
    if not completed(forked(collection, folder / f"{number}")):
        raise RuntimeError("the last collection was killed")
    return {"landed": landed, "stores": number + 1, "finished": finished_before}


def dies_before(step: int) -> None:
    """Makes the process die before the n-th flush or rename."""
    left = step

    def counted(function):
        def call(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*args, **kwargs)

        return call

    own = types.ModuleType("os")  # of that module alone: the renames of others do not count
    vars(own).update(vars(os), fsync=counted(os.fsync), replace=counted(os.replace))
    unweave.files.os = own


def kill_at_every_step(folder: Path) -> dict[str, object]:
    """Collections that die before the first step of writing, the second, and so on, until one does not; each is taken
    up again.
    """

    def attempt(step: int) -> None:
        dies_before(step)
        small_collection(folder / f"{step}")

    for step in itertools.count():
        if completed(forked(attempt, step)):
            (folder / f"{step}").rename(folder / "whole")
            return {"steps": step}
        if not completed(forked(small_collection, folder / f"{step}")):
            raise RuntimeError("the second attempt was killed")
    raise RuntimeError("counting ended")


def main() -> None:
    """Reads what to do from the command line."""
    torch.set_num_threads(1)
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    stores.model_of()
    done = kill_at_random(folder / "random", kills, seed)
    if "steps" in sys.argv:
        done |= kill_at_every_step(folder / "steps")
    print(json.dumps(done))


if __name__ == "__main__":
    main()
