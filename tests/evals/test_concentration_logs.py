"""The Gini values that the authors of NDM logged, from the effects they logged."""

import ast
import re

import pytest

import unweave as uw

NUMBERS = r"\n (\[.*?\])"
BLOCK = re.compile(rf"partition{NUMBERS}\nvar{NUMBERS}\neffect{NUMBERS}\n(.*?)(?=\*\*\*|\Z)", re.DOTALL)


def test_every_logged_value_is_found_again(data):
    found = 0
    for path in sorted((data / "ndm/gpt2").glob("eval_log*.txt")):
        for match in BLOCK.finditer(path.read_text()):
            sizes, variances, effects = (ast.literal_eval(part) for part in match.groups()[:3])
            weights = {"unnormed": None, "dimension": sizes, "variance": variances}
            for kind, value in re.findall(r"gini coef test\d (\w+)\s+([\d.]+)", match[4]):
                assert uw.evals.gini(effects, weights[kind]) == pytest.approx(float(value), abs=1e-6)
                found += 1
    assert found == 30
