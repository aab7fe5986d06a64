"""Messages of the library as users get them, without the shape checks that the test run puts in front of every call."""

from __future__ import annotations

import json
import subprocess
import sys

RUNNER = """
import json, sys
found = []
for preamble, snippets in json.loads(sys.stdin.read()):
    names = {}
    exec(preamble, names)
    for snippet in snippets:
        try:
            exec(snippet, dict(names))
            found.append("nothing was raised")
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


def messages(groups: list[tuple[str, list[str]]]) -> list[str]:
    """What each snippet raises, as `Type: text`, group after group in one fresh interpreter; a group is a preamble that
    is run first, and its snippets.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(groups),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)
