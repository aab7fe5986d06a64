"""`unweave study`: one JSON document with the contract's keys, plans, reuse, options beside a configuration."""

import json

import pytest

from unweave.report.record import read_run
from unweave.study import flow
from unweave.study.steps.order import STEPS


@pytest.fixture(scope="module")
def finished(tmp_path_factory, inputs):
    """(directory, exit code) of a finished study."""
    from unweave.cli.main import run

    folder = tmp_path_factory.mktemp("study") / "run"
    return folder, run(["study", str(inputs / "study.json"), "--out", str(folder), "-q"])


def test_the_document_has_the_contract_keys(unweave, inputs, finished):
    folder, code = finished
    assert code == 0
    done = unweave("study", inputs / "study.json", "--out", folder, "--json")
    assert done.code == 0
    document = done.document
    assert document["run"] == str(folder)
    assert document["report"] == str(folder / "report.html")
    assert isinstance(document["seconds"], float)
    assert isinstance(document["rows"], int)
    assert document["sites"] == ["blocks.0.mlp_act", "blocks.1.mlp_act"]
    assert len(document["probes"]) == 4
    for probe in document["probes"]:
        assert set(probe) >= {"model", "feature", "site", "k", "f1", "control_f1"}
        assert probe["site"] in document["sites"]
    assert "NaN" not in done.out


def test_progress_and_plan_go_to_standard_error(unweave, inputs, finished):
    done = unweave("study", inputs / "study.json", "--out", finished[0], "--json")
    assert done.err.split("\n")[0].startswith("llama: 24 documents, ")
    assert "llama: activations: used again\n" in done.err
    assert unweave("study", inputs / "study.json", "--out", finished[0], "--json", "-q").err == ""


def test_without_json_it_says_what_was_found_and_where_the_report_is(unweave, inputs, finished):
    lines = unweave("study", inputs / "study.json", "--out", finished[0], "-q").out.strip().split("\n")
    assert lines[0].startswith("llama: At blocks.1.mlp_act, one neuron reaches a mean F1 of ")
    assert lines[-1].startswith(f"report: {finished[0] / 'report.html'}  (")


def test_options_beside_a_configuration_win_and_the_run_knows_them(unweave, inputs, tmp_path):
    done = unweave(
        "study", inputs / "study.json", "--out", tmp_path / "run", "--json", "-q", "--k", "1,3", "--seed", "4",
        "--site", "blocks.1.resid_post", "--model", inputs / "bert", "--rows", "200",
    )  # fmt: skip
    assert {probe["k"] for probe in done.document["probes"]} == {1, 3}
    assert done.document["sites"] == ["blocks.1.resid_post"]
    assert [one["name"] for one in done.document["models"]] == ["bert"]
    run = read_run(tmp_path / "run")
    assert {key: run.config[key] for key in ("ks", "seed", "rows", "context")} == {
        "ks": [1, 3], "seed": 4, "rows": 200, "context": 64,
    }  # fmt: skip
    assert run.command.startswith("unweave study ")
    assert run.command.endswith(" --rows 200")


def test_several_models_and_sites(unweave, inputs, tmp_path):
    done = unweave(
        "study", inputs / "study.json", "--out", tmp_path / "run", "--json", "-q", "--dry-run",
        "-m", inputs / "llama", "-m", inputs / "bert", "-s", "blocks.0.mlp_act", "-s", "blocks.{0..1}.resid_post",
    )  # fmt: skip
    plans = done.document["plans"]
    assert [plan["model"] for plan in plans] == ["llama", "bert"]
    for plan in plans:
        assert list(plan["sites"]) == ["blocks.0.mlp_act", "blocks.0.resid_post", "blocks.1.resid_post"]
        assert plan["rows"] * sum(plan["sites"].values()) * 2 == plan["activation_bytes"] < plan["disk_bytes"]
        assert plan["seconds"] > flow.FIXED  # of the whole study, not of its collection
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_the_plan_and_who_is_left_out(unweave, inputs, monkeypatch, tmp_path):
    from unweave.errors import InputError
    from unweave.models import loading

    def missing(name):
        raise InputError(f"{name} is not installed: pip install it")

    monkeypatch.setattr(loading, "packaged_folder", missing)
    monkeypatch.chdir(tmp_path)
    done = unweave("study", "--text", inputs / "text.txt", "--dry-run")
    lines = done.out.strip().split("\n")
    assert lines[0] == "minilm is left out: minilm is not installed: pip install it"
    assert lines[1].startswith("zoo:docs: 24 documents, ")
    assert "MB on disk" in lines[1]
    assert "s; whole study about" in lines[1]
    assert list(tmp_path.iterdir()) == []
    assert unweave("study", "--text", inputs / "text.txt", "--dry-run", "--json").document["left_out"] == {
        "minilm": "minilm is not installed: pip install it"
    }


def test_the_same_command_again_computes_nothing_and_force_computes_all(unweave, inputs, finished):
    again = unweave("study", inputs / "study.json", "--out", finished[0])
    assert again.err.count("used again") == len(STEPS)
    forced = unweave("study", inputs / "study.json", "--out", finished[0], "--force")
    assert "used again" not in forced.err
    assert forced.code == 0


def test_ctrl_c_keeps_what_is_finished(unweave, inputs, tmp_path, monkeypatch):
    from unweave.study.steps import ablate as step_ablate

    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(step_ablate, "ablate", pressed)
    done = unweave("study", inputs / "study.json", "--out", tmp_path / "run", "-q")
    assert (done.code, done.out) == (130, "")
    assert done.message.startswith(
        f"unweave: interrupted: what is finished is kept in {tmp_path / 'run'}; the same com"
    )
    assert read_run(tmp_path / "run").status == "interrupted"
    before = [step.name for step in STEPS[: [step.name for step in STEPS].index("ablate")]]
    monkeypatch.undo()
    assert unweave("study", inputs / "study.json", "--out", tmp_path / "run").err.count("used again") == len(before)


def test_numbers_that_are_none_are_null(unweave, inputs, tmp_path, finished):
    """JSON has no NaN: a strict reader takes the document."""
    (line,) = unweave("study", inputs / "study.json", "--out", finished[0], "--json", "-q").out.strip().split("\n")

    def refuse(name):
        raise AssertionError(name)

    json.loads(line, parse_constant=refuse)
