"""`unweave report` and `unweave zoo`."""

import json

import pytest

from report_figures import record, run_of, write_folder
from unweave.models import zoo
from unweave.models.zoo import recipe


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


def test_json_is_one_line_for_every_command(unweave):
    assert json.loads(unweave("zoo", "list", "--json").out)
