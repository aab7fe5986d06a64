"""`unweave probe sweep`: a table for people, one document for programs, artifacts for Python."""

import json

import pytest

import unweave as uw
from study_inputs import write_inputs, write_text_file


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = write_inputs(tmp_path_factory.mktemp("sweep"))
    write_text_file(folder / "text.txt", documents=40)
    uw.collect(uw.load_model(folder / "llama"), folder / "text.txt", "blocks.*.mlp_act", folder / "store", context=64)
    return folder / "store"


def arguments(store, *more):
    return (
        "probe", "sweep", store, "--k", "1,2", "--selector", "std_mean_diff", "--shuffles", "2", "--rows", "200",
        "--feature", "contains_digit", "--controls", "few", *more,
    )  # fmt: skip


def test_a_table_and_artifacts_that_are_those_of_the_library(unweave, store, tmp_path):
    done = unweave(*arguments(store, "--out", tmp_path / "out"))
    assert done.code == 0
    assert "F1 on held-out documents by number of units" in done.out
    assert done.out.count("contains_digit") == 2 + 1
    assert f"probes: {tmp_path / 'out' / 'probes'}, evidence: {tmp_path / 'out' / 'evidence'}" in done.out
    assert "1 features x 2 sites" in done.err
    table, evidence = (uw.load(tmp_path / "out" / name) for name in ("probes", "evidence"))
    opened = uw.open_store(store)
    from unweave.activations.token_strings import token_string_features

    digits = token_string_features(opened, None)[:1]
    twin = uw.probing.sweep_many(opened, digits, ks=(1, 2), selector="std_mean_diff", shuffles=2, rows=200)
    assert table.table() == twin.table()
    again = uw.probing.evidence(opened, digits, table=twin, options=evidence.config)
    assert evidence.winners() == again.winners()


def test_one_document_for_programs(unweave, store):
    done = unweave(*arguments(store, "--json", "-q", "--seed", "3"))
    assert done.err == ""
    document = done.document
    assert document["features"] == ["contains_digit"]
    assert {row["k"] for row in document["probes"]} == {1, 2}
    assert {row["control"] for row in document["controls"]} == {
        "rotation", "random coordinates", "coordinates matched in spread", "selectivity",
    }  # fmt: skip
    assert document["winners"][0]["feature"] == "contains_digit"
    assert document["token_baseline"]["contains_digit"] > 0.5
    assert document["out"] is None
    json.dumps(document, allow_nan=False)


def test_without_controls_there_are_probes_alone(unweave, store, tmp_path):
    line = [part for part in arguments(store, "--json", "-q", "--out", tmp_path / "out") if part != "few"]
    line.insert(line.index("--controls") + 1, "none")
    document = unweave(*line).document
    assert (document["winners"], document["controls"], document["token_baseline"]) == ([], [], {})
    assert not (tmp_path / "out" / "evidence").exists()


def test_labels_of_a_file_and_one_site(unweave, store):
    labels = store.parent / "spans.jsonl"
    line = ("probe", "sweep", store, "--labels", labels, "--site", "blocks.1.mlp_act", "--k", "1", "--rows", "100",
            "--selector", "std_mean_diff", "--controls", "none", "--json", "-q")  # fmt: skip
    document = unweave(*line).document
    assert document["features"] == ["number"]
    assert {row["site"] for row in document["probes"]} == {"blocks.1.mlp_act"}


def test_a_dry_run_says_rows_and_bytes(unweave, plans, store):
    plan = unweave(*arguments(store, "--dry-run", "--json")).document
    assert plan["features"] == ["contains_digit"]
    assert plan["bytes"] % (48 * 12) == 0
    assert min(plan["seconds"], plan["disk_bytes"]) > 0
    assert "1 features x 2 sites, at most" in unweave(*arguments(store, "--site", "blocks.*", "--dry-run")).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{store}x",), "no activation store at"),
        (("{store}", "--feature", "contains_digits"), "unknown feature 'contains_digits'; nearest: 'contains_digit'"),
        (("{store}", "--labels", "nowhere.jsonl"), "no labels file at nowhere.jsonl: give a .jsonl, .csv or .npy file"),
        (("{store}", "--site", "blocks.9.mlp_act"), "unknown site 'blocks.9.mlp_act'"),
        (("{store}", "--k", "1;2"), "--k is '1;2': numbers with commas between them are needed"),
        (("{store}", "--k", "2,1"), "ks: must be increasing numbers"),
        (("{store}", "--selector", "std_mean_dif"), "unknown selector 'std_mean_dif'; nearest: 'std_mean_diff'"),
        (("{store}", "--controls", "fw"), "unknown set of controls 'fw'; nearest: 'few'"),
        (("{store}", "--rows", "3"), "rows: input should be greater than or equal to 50"),
    ],
)
def test_wrong_inputs_end_with_one_line(unweave, store, arguments, message):
    done = unweave("probe", "sweep", *(one.format(store=store) for one in arguments), "-q")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err
