"""`unweave collect`: to disk, told as text or as one JSON document, resumed, replaced, planned."""

import io

import fsspec
import numpy as np
import pytest

import unweave as uw
from unweave.activations import collect as collecting
from unweave.activations.layout import shard_files


def arguments(inputs, out, *more):
    return (
        "collect", "--model", inputs / "llama", "--text", inputs / "text.txt", "--site", "blocks.*.mlp_act",
        "--out", out, *more,
    )  # fmt: skip


def test_a_store_and_one_document_about_it(unweave, inputs, tmp_path):
    out = tmp_path / "store"
    document = unweave(*arguments(inputs, out, "--json")).document
    store = uw.open_store(out)
    assert document["rows"] == len(store)
    assert document["sites"] == store.sites == ["blocks.0.mlp_act", "blocks.1.mlp_act"]
    assert document["documents"] == 24
    assert (document["made"], document["reused"], document["complete"]) == (document["shards"], 0, True)
    assert document["fingerprint"] == store.fingerprint
    assert document["store"] == str(out)
    files = [file for number in range(document["shards"]) for file in shard_files(out, number)[:2]]
    assert document["bytes"] == sum(file.stat().st_size for file in files)


def test_the_same_command_again_says_that_it_is_complete(unweave, inputs, tmp_path):
    first = unweave(*arguments(inputs, tmp_path / "store"))
    assert first.out.startswith(f"{tmp_path / 'store'}: ")
    assert "rows at 2 sites, complete: 1 shards made, 0 were there" in first.out
    again = unweave(*arguments(inputs, tmp_path / "store"))
    assert again.out.endswith("rows at 2 sites, was complete already\n")
    document = unweave(*arguments(inputs, tmp_path / "store", "--json")).document
    assert (document["made"], document["reused"]) == (0, 1)


def test_it_is_the_store_of_the_library(unweave, inputs, tmp_path):
    unweave(*arguments(inputs, tmp_path / "by-command", "-q", "--context", "32", "--dtype", "float32"))
    model = uw.load_model(inputs / "llama")
    texts = list(uw.read_texts(inputs / "text.txt"))
    store = uw.collect(model, texts, "blocks.*.mlp_act", tmp_path / "by-hand", context=32, dtype="float32")
    assert store.fingerprint == uw.open_store(tmp_path / "by-command").fingerprint


def test_other_settings_need_force(unweave, inputs, tmp_path):
    out = tmp_path / "store"
    unweave(*arguments(inputs, out, "-q"))
    refused = unweave(*arguments(inputs, out, "-q", "--dtype", "float32"))
    assert refused.code == 2
    assert "dtype was float16, is float32" in refused.err
    assert unweave(*arguments(inputs, out, "-q", "--dtype", "float32", "--force")).code == 0
    assert uw.open_store(out).collection.dtype == "float32"


def test_quiet_says_nothing_on_standard_error(unweave, inputs, tmp_path):
    done = unweave(*arguments(inputs, tmp_path / "store", "-q"))
    assert done.err == ""
    assert "MB on disk" in unweave(*arguments(inputs, tmp_path / "other")).err


def test_a_dry_run_writes_nothing_and_counts_exactly(unweave, inputs, tmp_path):
    out = tmp_path / "store"
    plan = unweave(*arguments(inputs, out, "--dry-run", "--json")).document
    assert not out.exists()
    done = unweave(*arguments(inputs, out, "--json")).document
    assert plan["rows"] == done["rows"]
    assert plan["activation_bytes"] == done["rows"] * sum(plan["sites"].values()) * 2
    assert "documents, " in unweave(*arguments(inputs, out, "--dry-run")).out


def test_text_from_standard_input(unweave, inputs, tmp_path, monkeypatch):
    text = (inputs / "text.txt").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    line = [part if part != inputs / "text.txt" else "-" for part in arguments(inputs, tmp_path / "piped", "-q")]
    assert unweave(*line).code == 0
    unweave(*arguments(inputs, tmp_path / "read", "-q"))
    piped, read = (uw.open_store(tmp_path / name) for name in ("piped", "read"))
    assert np.array_equal(piped.rows["token_id"], read.rows["token_id"])
    assert piped.fingerprint == read.fingerprint


def test_ctrl_c_keeps_finished_shards(unweave, inputs, tmp_path, monkeypatch):
    """Ctrl-C while the second of many shards is made; the same command finishes to the same store."""
    monkeypatch.setattr(collecting, "default_shard_rows", lambda *_: 200)
    unweave(*arguments(inputs, tmp_path / "whole", "-q"))
    whole, made = collecting.make_shard, []

    def pressed(*given):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return whole(*given)

    monkeypatch.setattr(collecting, "make_shard", pressed)
    done = unweave(*arguments(inputs, tmp_path / "store", "-q", "--workers", "1"))
    assert done.code == 130
    assert "interrupted: 2 finished shards are kept" in done.err
    monkeypatch.setattr(collecting, "make_shard", whole)
    document = unweave(*arguments(inputs, tmp_path / "store", "--json", "-q")).document
    assert document["reused"] == 2
    assert document["fingerprint"] == uw.open_store(tmp_path / "whole").fingerprint


@pytest.mark.parametrize("workers", [1, 3])
def test_the_store_does_not_depend_on_the_workers(unweave, inputs, tmp_path, workers):
    unweave(*arguments(inputs, tmp_path / "default", "-q"))
    unweave(*arguments(inputs, tmp_path / "store", "-q", "--workers", workers))
    assert uw.open_store(tmp_path / "store").fingerprint == uw.open_store(tmp_path / "default").fingerprint


def test_stores_and_texts_behind_urls(unweave, told_plans, inputs, tmp_path):
    files = fsspec.filesystem("memory")
    files.pipe_file("/unweave-cli/text.txt", (inputs / "text.txt").read_bytes())
    try:
        url = "memory://unweave-cli/store"
        words = ("collect", "-q", "--model", inputs / "llama", "--site", "blocks.0.mlp_act", "--dtype", "uint8")
        document = unweave(*words, "--text", "memory://unweave-cli/text.txt", "--out", url, "--json").document
        assert (document["store"], document["rounding"]["blocks.0.mlp_act"]["lost"] < 0.01) == (url, True)
        again = unweave(*words, "--text", "memory://unweave-cli/text.txt", "--out", url)
        assert "was complete already\n  blocks.0.mlp_act: values differ by at most " in again.out
        unweave(*words, "--text", inputs / "text.txt", "--out", tmp_path / "local")
        assert uw.open_store(url).fingerprint == uw.open_store(tmp_path / "local").fingerprint
        planned = unweave("probe", "sweep", url, "--labels", inputs / "spans.jsonl", "--dry-run")
        assert planned.code == 0
        fitted = unweave("ndm", "fit", url, "--unit-size", "16", "--preset", "quick", "--dry-run", "--json").document
        assert fitted["rows"] > 0
    finally:
        files.rm("/unweave-cli", recursive=True)


def test_urls_where_a_directory_is_needed_and_urls_that_are_none(unweave, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = "memory://run is a URL: this needs a directory of this machine, copy it there afterwards"
    for words in (("study", "--out", "memory://run"), ("study", "memory://run"), ("report", "memory://run")):
        refused = unweave(*words)
        assert (refused.code, refused.message) == (2, f"unweave: {local}")
    for words, message in (
        (arguments(inputs, "nope://x"), "nope://x cannot be reached (Protocol not known: nope)"),
        (arguments(inputs, "s3://bucket/store"), "s3://bucket/store cannot be reached: Install s3fs to access S3"),
        (arguments(inputs, "s", "--text", "memory://nothing.txt"), "no text file at memory://nothing.txt"),
        (("collect", "--model", "s3://a/b", "--text", "a.txt", "--site", "embed", "--out", "s"), "s3://a/b is a URL"),
    ):
        refused = unweave(*words)
        assert refused.code == 2
        assert message in refused.message
    assert not list(tmp_path.iterdir())
