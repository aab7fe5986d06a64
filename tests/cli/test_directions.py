"""`unweave directions`: JSON, files, a control vector, and wrong input in one line."""

from __future__ import annotations

import json

import pytest

import unweave as uw
from unweave.features.foreign import load_gguf


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    words = ["water", "music", "trains", "gardens", "books", "letters"]
    file.write_text(
        "\n".join(
            json.dumps({"positive": f"I like {w} {n}", "negative": f"I hate {w} {n}", "group": w})
            for w in words
            for n in ("much", "well")
        )
    )
    return file


def test_a_direction_a_layer_with_its_scores(unweave, inputs, pairs, tmp_path):
    out, file = tmp_path / "out", tmp_path / "v.gguf"
    done = unweave(
        "directions", "-m", inputs / "llama", pairs, "--layers", "1", "--out", out, "--gguf", file, "--json", "-q"
    )
    assert done.code == 0, done.err
    found = done.document
    assert [one["site"] for one in found["layers"]] == ["blocks.1.resid_post"]
    assert found["best"] == "blocks.1.resid_post"
    assert {"score", "low", "high", "p_value", "p_holm", "cos_read_write", "entropy_percentile"} <= set(
        found["layers"][0]
    )
    bundle = uw.load(out / "directions")
    assert uw.load(out / "layers").table() == found["layers"]
    vector = load_gguf(file).directions["blocks.1.resid_post"].vector
    assert vector.tolist() == bundle["blocks.1.resid_post"].vector.float().tolist()
    plain = unweave("directions", "-m", inputs / "llama", pairs, "--site", "blocks.*.mlp_out", "--method", "lda", "-q")
    assert plain.code == 0, plain.err
    assert "blocks.0.mlp_out" in plain.out
    planned = unweave("directions", "-m", inputs / "llama", pairs, "--layers", "0..1", "--dry-run", "--json")
    assert planned.document["sites"] == ["blocks.0.resid_post", "blocks.1.resid_post"]
    assert planned.document["texts"] == 24
    assert min(planned.document[name] for name in ("rows", "seconds", "disk_bytes")) > 0


WRONG = {
    "layers": (["--layers", "x"], "--layers is 'x': all, numbers such as 2,4, or a range such as 2..8"),
    "beyond": (["--layers", "9"], "unknown site 'blocks.9.resid_post'"),
    "backwards": (["--layers", "3..1"], "--layers is '3..1', which names no block: a range goes upwards"),
    "seed": (["--seed", "-1"], "'--seed': Input should be greater than or equal to 0"),
    "out": (["--out", __file__], "is a file: choose a directory"),
    "share": (["--layers", "1", "--test", "2"], "test is 2.0: a share between 0 and 1"),
    "both": (["--layers", "1", "--site", "embed"], "--layers and --site are two ways to say the same"),
    "position": (["--position", "end"], "--position is 'end': last, mean or a whole number"),
    "method": (["--method", "contrast_pac"], "unknown method 'contrast_pac'; nearest: 'contrast_pca'"),
    "block 0": (["--layers", "0", "--gguf", "x.gguf"], "blocks.0.resid_post cannot be exported"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(unweave, inputs, pairs, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, message = WRONG[name]
    done = unweave("directions", "-m", inputs / "llama", pairs, *options, "-q")
    assert done.code == 2
    assert message in done.message
    assert unweave("directions", "-m", inputs / "llama", tmp_path / "none.jsonl").code == 2
