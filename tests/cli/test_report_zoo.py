"""`unweave report` and `unweave zoo`."""

import json
from dataclasses import replace

import pytest

import unweave as uw
from report_figures import record, run_of, write_folder
from unweave.models import zoo
from unweave.models.zoo import planning, recipe


def test_the_report_is_made_again(unweave, tmp_path):
    folder = write_folder(tmp_path / "run", run_of("tiny"), {"tiny": [record()]})
    done = unweave("report", folder)
    assert (done.code, done.out, done.err) == (0, f"report: {folder / 'report.html'}\n", "")
    first = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert unweave("report", folder, "--json").document == {"report": str(folder / "report.html")}
    assert (folder / "report.html").read_bytes() == first


def test_the_bundled_models_are_listed_with_both_losses(unweave):
    done = unweave("zoo", "list")
    for name in zoo.names():
        facts = zoo.facts(name)
        (line,) = [line for line in done.out.split("\n") if line.startswith(f"zoo:{name}")]
        assert f"{facts['parameters']:,} parameters" in line
        if "test_accuracy" in facts:
            assert f"{facts['test_accuracy']:.1%} right on {facts['test_inputs']:,} held-out inputs" in line
            continue
        assert f"held-out loss {facts['loss_nats_a_token']:.3f} nats a token" in line
        assert f"(5-gram: {facts['loss_5gram_nats_a_token']:.3f})" in line
    assert "(also zoo:docs)" in done.out
    document = unweave("zoo", "list", "--json").document
    assert [one["source"] for one in document["models"]] == [f"zoo:{name}" for name in zoo.names()]
    assert document["aliases"] == dict(zoo.ALIASES)


@pytest.mark.parametrize("name", ["docs", "docs-s"])
def test_training_runs_the_recipe_of_the_name(unweave, tmp_path, monkeypatch, name):
    facts = {"name": "docs-s", "parameters": 3, "loss_nats_a_token": 1.5, "loss_5gram_nats_a_token": 2.0, "more": 1}
    asked = []

    def train(chosen, out, progress):
        asked.append((chosen, out))
        progress.note("trained")
        return facts

    monkeypatch.setattr(recipe, "train", train)
    done = unweave("zoo", "train", name, "--out", tmp_path / "new", "--json")
    assert asked == [(recipe.RECIPES["docs-s"], tmp_path / "new")]
    assert done.document == {key: value for key, value in facts.items() if key != "more"}
    assert done.err == "trained\n"
    quiet = unweave("zoo", "train", name, "--out", tmp_path / "new", "-q")
    assert (quiet.err, quiet.out.startswith(f"{tmp_path / 'new'}: name docs-s, parameters 3")) == ("", True)


def test_the_plan_of_a_training_trains_nothing_there(unweave, tmp_path, monkeypatch):
    plan = unweave("zoo", "train", "digits", "--out", tmp_path / "new", "--dry-run", "--json").document
    shipped = sum((zoo.folder_of("digits") / name).stat().st_size for name in ("model.safetensors", "zoo.json"))
    assert (plan["name"], plan["steps"]) == ("digits", 600)
    assert abs(plan["disk_bytes"] / shipped - 1) < 0.1
    assert plan["seconds"] > 0
    assert not (tmp_path / "new").exists()
    small = replace(recipe.RECIPES["docs-xs"], width=12, depth=1, mlp_width=8, context=16, batch=2, epochs=2)
    documents = [[2, 3, 4, 5] * 9] * 8
    monkeypatch.setattr(planning, "prepared", lambda _recipe: ready(documents))
    monkeypatch.setitem(planning.RECIPES, "docs-xs", small)
    line = unweave("zoo", "train", "docs-xs", "--out", tmp_path / "new", "--dry-run").out
    assert line.startswith(f"docs-xs: {recipe.step_count(documents, small, 1)} steps; ")
    assert not (tmp_path / "new").exists()


def ready(documents):
    """A corpus of a few documents, in the tokens of the bundled tokenizer."""
    tokenizer = uw.load_model("zoo:docs-xs").tokenizer
    return recipe.Prepared(
        documents=(), held_out_documents=(), tokenizer=tokenizer, start=1, training=documents, held_out=documents[:2]
    )


def test_json_is_one_line_for_every_command(unweave):
    assert json.loads(unweave("zoo", "list", "--json").out)
