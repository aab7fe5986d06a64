"""`unweave superpose`: one JSON document, a report, tables and models; what is wrong in one line."""

import numpy as np
import pytest

import unweave as uw

THEMES = (
    ("January", "snow", "ice"),
    ("June", "sun", "sea"),
    ("May", "rain", "field"),
    ("March", "wind", "hill"),
    ("August", "heat", "sand"),
)
QUICK = ("--width", "3", "--decay", "0,1", "--epochs", "3", "--batch", "64", "--window", "2", "-q")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = np.random.default_rng(0)
    lines = [" ".join([*rng.choice(THEMES[rng.integers(5)], 2), rng.choice(["red", "blue"])]) for _ in range(300)]
    file = tmp_path_factory.mktemp("superpose") / "text.txt"
    file.write_text("\n".join(lines))
    return file


def test_a_text_gives_models_scores_and_a_report(unweave, text, tmp_path):
    done = unweave("superpose", "text", text, *QUICK, "--seeds", "0,1", "--out", tmp_path / "lab", "--json")
    assert done.code == 0, done.err
    found = done.document
    assert found["n_windows"] > 200
    assert set(found["vocab"]) >= {"January", "sea"}
    assert [one["seed"] for one in found["models"]] == [None, 0, 0, 1, 1]
    for one in found["models"]:
        assert {"width", "decay", "seed", "mse", "r2", "bound", "norm2", "regimes", "scores"} <= set(one)
        assert one["width"] == 3
    assert found["models"][0]["train_mse"] == pytest.approx(found["models"][0]["bound"])
    assert {"norm2", "lift_excess", "ring"} <= set(found["slopes"]["decay"])
    page = (tmp_path / "lab" / "report.html").read_text()
    assert "Ring of months" in page
    assert "What adds up to a word" in page
    bags = uw.load(tmp_path / "lab" / "models" / "text" / "bags")
    model = uw.load(tmp_path / "lab" / "models" / "text" / "trained" / "1-decay-0-width-3")
    assert model.reconstruct(bags.dense(0, 4)).shape == (4, len(found["vocab"]))
    assert (tmp_path / "lab" / "words-1.csv").read_text().startswith("word,regime,p,")
    typed = unweave("superpose", "explain", tmp_path / "lab", "June", "snow, sea and June", "--json")
    parts = typed.document
    assert parts["model"] == "4-decay-1-width-3"
    assert [name for name, _ in parts["parts"]] in (["snow", "sea"], ["sea", "snow"])
    added = sum(value for _, value in parts["parts"])
    assert parts["total"] == pytest.approx(parts["bias"] + parts["own"] + added, abs=1e-6)
    shown = unweave("superpose", "explain", tmp_path / "lab", "June", "snow xyz", "--model", "closed-form-width-3")
    assert "0-closed-form-width-3" in shown.out
    assert "not in the vocabulary: xyz" in shown.out
    for words, message in (
        (("lab", "June", "x", "--model", "decay-9"), "unknown model 'decay-9'"),
        (("lab", "Juni", "x"), "unknown word 'Juni'"),
        (("nothing", "June", "x"), "has no models of a text"),
    ):
        wrong = unweave("superpose", "explain", tmp_path / words[0], *words[1:])
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (2, "", 1)
        assert message in wrong.err


def test_a_person_gets_a_table(unweave, text, tmp_path):
    (tmp_path / "kinds.csv").write_text("word,label\n" + "".join(f"{m},m\n{w},w\n{v},w\n" for m, w, v in THEMES))
    dials = ("--lexicon", tmp_path / "kinds.csv", "--width", "2,3")
    done = unweave("superpose", "text", text, *QUICK, *dials, "--out", tmp_path / "lab")
    page = (tmp_path / "lab" / "report.html").read_text()
    for title in ("Clusters against the labels given", "Scores over width and decay", "Structure of months over width"):
        assert title in page
    assert "closed form" in done.out
    assert "report:" in done.out
    again = unweave("report", tmp_path / "lab")
    assert again.code == 0


def test_a_dry_run_writes_nothing(unweave, plans, text, tmp_path):
    done = unweave("superpose", "text", text, *QUICK, "--out", tmp_path / "none", "--dry-run", "--json")
    assert done.document["windows"] == 299
    assert done.document["seconds"] > 0
    assert not (tmp_path / "none").exists()
    assert min(done.document[name] for name in ("disk_bytes", "rows", "models")) > 0
    few = ("--width", "2,3", "--steps", "30", "--rows", "100")
    world = unweave("superpose", "synthetic", *few, "--dry-run", "--json", "-q")
    assert (world.document["models"], world.document["rows"]) == (2, 100)
    assert world.document["disk_bytes"] > 10_000  # models and a report


def test_a_world_gives_phases(unweave, tmp_path):
    options = ("--width", "2,12", "--base=0,-2", "--sharpness", "5", "--steps", "150", "--rows", "1000", "-q")
    done = unweave("superpose", "synthetic", "--world", "circular", *options, "--out", tmp_path / "lab", "--json")
    assert done.code == 0, done.err
    assert [row["width"] for row in done.document["models"]] == [2, 12, 2, 12]
    assert {"mse", "bound", "norm2", "rho", "regime"} <= set(done.document["models"][0])
    assert "Phases over width and base" in (tmp_path / "lab" / "report.html").read_text()
    block = unweave("superpose", "synthetic", "--world", "block", *options[:2], *options[5:], "--out", tmp_path / "b")
    assert block.code == 0, block.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text", "nowhere.txt"), "no text file at nowhere.txt"),
        (("text", "{text}", "--width", "a"), "--width is 'a': numbers from 1 up such as 50,100"),
        (("text", "{text}", "--decay", "x"), "--decay is 'x'"),
        (("text", "{text}", "--decay=-1", "-q"), "decays"),
        (("text", "{text}", "--activation", "rleu"), "activation"),
        (("text", "{text}", "--vocab", "1"), "vocab"),
        (("text", "{text}", "--profile", "papr", "-q"), "unknown profile 'papr'"),
        (("text", "{text}", "--force-words", "two words", "-q"), "which is not one word"),
        (("text", "{empty}", "-q"), "no unit in"),
        (("text", "{text}", "--lexicon", "{empty}", "-q"), "word and label are needed"),
        (("text", "{text}", "--lexicon", "none.csv", "-q"), "none.csv cannot be read"),
        (("synthetic", "--world", "circlar", "-q"), "nearest: 'circular'"),
        (("synthetic", "--width", "0", "-q"), "--width is '0': numbers from 1 up"),
        (("synthetic", "--width", "5:2", "-q"), "--width is '5:2'"),
        (("synthetic", "--decay", "inf", "-q"), "--decay is 'inf'"),
        (("synthetic", "--noise", "inf", "--json"), "noise"),
        (("synthetic", "--density", "2", "-q"), "density is 2.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(unweave, text, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    words = [word.replace("{text}", str(text)).replace("{empty}", str(tmp_path / "empty.txt")) for word in arguments]
    done = unweave("superpose", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err
