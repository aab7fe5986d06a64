"""What the report says about a suite: claims beside what is known, and one sentence where nothing could be tested."""

import pytest
from scipy.stats import binomtest

import unweave as uw
from unweave.errors import StoreError
from unweave.evals.suites.planted_truth import planted_result
from unweave.evals.suites.result import SuiteResult
from unweave.evals.suites.running import run_suite
from unweave.report.charts import specification
from unweave.report.record import read_record
from unweave.study.suite_record import sentences, suite_record, tables_of, write_suite_report


@pytest.fixture(scope="module")
def found():
    return run_suite(uw.load_model("zoo:modadd"), None, "modular-addition", count=12)


def test_claims_stand_beside_what_is_known(found):
    claims, frequencies = tables_of(found)
    assert [row[2] for row in claims.rows] == ["supported", "not supported"]
    assert claims.rows[0][3] == "supported"
    assert frequencies.columns == ("frequency", "share")
    assert sentences(found)[0] == "2 of 2 claims whose answer is known beforehand came out so."
    (figure,) = suite_record(found, "m").figures
    assert figure.data["series"][0] == "supported"


def test_the_page_is_written_from_the_records(found, tmp_path):
    page = write_suite_report(found, tmp_path / "deep/er", model="zoo:modadd", command="unweave evaluate run")
    text = page.read_text()
    assert "the key frequencies (8 dimensions) carry the sum" in text
    assert read_record(tmp_path / "deep/er/model/suite").title == "Suite modular-addition"
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        write_suite_report(found, tmp_path / "file", model="m", command="c")


def test_curves_of_the_planted_tests_are_drawn():
    """A facet a test, a line a number of pairs, with the exact interval of the claims behind each point."""
    rows = [{"share": share, "pairs": pairs, "supported": share, "n": 8} for share in (0.0, 0.5) for pairs in (15, 60)]
    rates = {"false_positive_rate": 0.0, "false_positive_interval": [0.0, 0.1], "power": 1.0}
    one = rates | {"power_interval": [0.9, 1.0], "n": 8, "calibration": rows}
    world = {"supported_rate": 0.0, "supported_interval": [0.0, 0.1], "n": 8, "calibration": rows}
    found = planted_result({"seed": 3, "tests": {"a": one, "b": one}, "negative_worlds": {"c": world}})
    tests, worlds = suite_record(found, "none").figures
    assert list(dict.fromkeys(tests.data["facet"])) == ["a", "b"]
    assert set(tests.data["series"]) == {"15 pairs", "60 pairs"}
    assert (tests.data["x"][-1], tests.data["y"][-1]) == (50, 0.5)
    assert tests.data["low"][-1] == pytest.approx(binomtest(4, 8).proportion_ci(method="exact").low)
    assert set(worlds.data["facet"]) == {"c"}
    assert {table.title for table in tables_of(found)} >= {"Tests", "Negative worlds"}
    for figure in (tests, worlds):
        assert specification(figure)


def test_a_suite_that_could_not_be_done_says_so():
    nothing = SuiteResult(suite="ioi", model="m", rows=(), seed=0, warnings=("the model does not do this task",))
    assert sentences(nothing) == ("The model does not do the task of suite ioi: nothing was tested.",)
    assert tables_of(nothing) == ()
