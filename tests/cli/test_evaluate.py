"""`unweave evaluate` and `unweave compare`: documents, tables, and one line for wrong input."""

import json
from dataclasses import replace

import pytest
import torch

import unweave as uw
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.features.bases import random_rotation

SITE = "blocks.0.resid_post"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """The planted language model with a tokenizer of words, pairs about its style, and a random rotation."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("style")
    world = style_world(seed=0)
    names = [f"w{number}" for number in range(world.model.vocabulary_size)]
    tokenizer = Tokenizer(models.WordLevel(vocab={name: number for number, name in enumerate(names)}, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    world.model.module.save_pretrained(folder / "model")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w2").save_pretrained(folder / "model")
    rows = []
    for seed in range(40):
        one, two = (world.prompts(1, seed=seed, tag=tag, length=3)[0].tolist() for tag in (TAG_FOR, TAG_AGAINST))
        answers = [world.model(torch.tensor([ids]))[0, -1].argmax().item() for ids in (one, two)]
        base, source = (" ".join(names[number] for number in ids) for ids in (one, two))
        rows.append({"base": base, "source": source, "base_answer": names[answers[0]], "answer": names[answers[1]]})
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    uw.save(replace(random_rotation(24), site=SITE, blocks=(6,) * 4), folder / "random")
    truth = uw.AffineFeaturizer(read=world.memory[:, None], site=SITE)
    uw.save(truth, folder / "truth")
    return folder


def test_decompositions_side_by_side(unweave, task, tmp_path):
    words = (
        "compare",
        task / "truth",
        "pca",
        task / "random",
        "--model",
        task / "model",
        "--pairs",
        task / "pairs.jsonl",
    )
    texts = [{"text": f"w{tag} w{word}", "label": tag, "group": str(word)} for tag in (0, 1) for word in range(2, 22)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps(one) for one in texts))
    more = ("--concept", tmp_path / "texts.jsonl", "--budget", "2", "--json", "--out", tmp_path / "contest")
    done = unweave(*words, *more)
    assert done.code == 0, done.err
    rows = {row["name"].rsplit("/", 1)[-1]: row for row in done.document["rows"]}
    assert set(rows) == {"truth", "pca", "random"}
    assert rows["truth"]["verdict"] == "supported"
    assert rows["truth"]["share"] > 0.5 > rows["random"]["share"]
    assert done.document["dimension"] == 6  # the largest block of the random rotation: all may have as much
    assert (rows["truth"]["dimension"], rows["random"]["dimension"]) == (1, 6)
    assert rows["truth"]["bits"] < 1
    assert rows["random"]["row_bits"] > 1
    assert rows["truth"]["absorbed"] == 0
    assert (rows["truth"]["candidates"], rows["pca"]["candidates"], rows["random"]["candidates"]) == (1, 2, 2)
    assert rows["pca"]["control_candidates"] == 2  # random subspaces are searched as widely
    assert uw.load(tmp_path / "contest").table()[0]["name"] == str(task / "truth")
    shown = unweave(*words)
    assert shown.code == 0
    assert "share of the whole site's effect" in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "run"), "no model was given"),
        (("evaluate", "run", "--model", "zoo:docs", "--suite", "oio"), "nearest: 'ioi'"),
        (("evaluate", "run", "--model", "zoo:docs", "--prompts", "1"), "at least 2"),
        (("evaluate", "run", "--model", "zoo:docs", "--suite", "ioi"), "names are one token"),
        (("evaluate", "planted", "--test", "steeering"), "nearest: 'steering'"),
        (("evaluate", "run", "--model", "planted", "--suite", "brackets"), "no planted model for suite 'brackets'"),
        (("evaluate", "run", "--model", "planted", "--data", "x.json"), "takes no file; those that take one: ravel"),
        (("evaluate", "run", "--model", "planted", "--suite", "ravel", "--data", "x.json"), "knows its own words"),
        (("evaluate", "run", "--model", "planted", "--suite", "honesty", "--data", "x.jsonl"), "cannot be read"),
        (("evaluate", "run", "--model", "zoo:docs", "--suite", "induction"), "published model of 2 blocks"),
        (("evaluate", "run", "--model", "zoo:docs", "--suite", "modular-addition"), "add modulo p"),
        (("evaluate", "run", "--model", "none.safetensors", "--suite", "brackets"), "no model"),
        (("evaluate", "run", "nothing-there", "--model", "planted"), "no artifact at"),
        (("evaluate", "run", "--model", "zoo:digits", "--suite", "honesty"), "predicts no next token"),
        (("compare", "pca", "--model", "zoo:docs"), "no site was given"),
        (("compare", "topk-frosen", "--model", "zoo:docs", "--site", SITE), "nearest: 'topk-frozen'"),
        (("compare", "pca", "--model", "zoo:docs", "--site", SITE, "--budget", "0"), "--budget is 0: at least 1"),
        (
            ("compare", "pca", "--model", "zoo:docs", "--site", SITE, "--seed", "-1"),
            "'--seed': Input should be greater than or equal to 0",
        ),
        (("compare", "pca", "--model", "zoo:docs", "--out", f"{__file__}/x"), "is a file: choose a directory"),
        (("evaluate", "planted", "--repeats", "0"), "repeats is 0: at least 1"),
        (("evaluate", "planted", "--seed", "-1"), "'--seed': Input should be greater than or equal to 0"),
        (("evaluate", "planted", "--calibration", "-1"), "calibration -1: 0 or more"),
        (("evaluate", "planted", "--out", __file__), "is a file: choose a directory"),
        (("compare", "pca", "--model", "zoo:docs", "--site", SITE, "-k", "0"), "at least 1"),
    ],
)
def test_wrong_input_is_told_in_one_line(unweave, words, message):
    done = unweave(*words)
    assert done.code == 2
    assert message in done.message


def test_the_plan_of_a_comparison_says_pairs_and_writes_nothing(unweave, plans, task, tmp_path):
    words = ("compare", "random", "--model", task / "model", "--pairs", task / "pairs.jsonl", "--site", SITE)
    plan = unweave(*words, "--dry-run", "--json", "--out", tmp_path / "contest").document
    assert (plan["decompositions"], plan["pairs"]) == (["random"], 40)
    assert min(plan["seconds"], plan["disk_bytes"]) > 0
    assert not (tmp_path / "contest").exists()


def test_planted_rates_are_one_document(unweave, tmp_path):
    words = ("evaluate", "planted", "--seed", "3", "--repeats", "2", "--test", "mean ablation", "--calibration", "0")
    done = unweave(*words, "--json", "--out", tmp_path)
    assert done.code == 0, done.err
    assert done.document["tests"]["mean ablation"]["n"] == 2
    assert set(done.document["tests"]["mean ablation"]) >= {"false_positive_rate", "power", "n"}
    assert json.loads((tmp_path / "planted.json").read_text()) == done.document
    assert "How often claims are supported" not in (tmp_path / "report.html").read_text()  # no curve was asked for
    assert "mean ablation" in unweave(*words).out
    plan = unweave(*words, "--dry-run", "--json").document
    assert plan["rows"] == 2
    assert abs(plan["disk_bytes"] - (tmp_path / "planted.json").stat().st_size) < 30  # digits of the time


def test_suites_are_listed(unweave):
    done = unweave("evaluate", "suites", "--json")
    assert done.code == 0
    assert {"ioi", "honesty", "brackets", "planted"} <= set(done.document)
    assert "knowledge-conflict" in unweave("evaluate", "suites").out
    told = unweave("evaluate", "run", "--help").out
    assert all(name in told for name in uw.evals.suite_names())


def test_a_suite_keeps_its_result_and_its_page(unweave, tmp_path):
    words = ("evaluate", "run", "--suite", "modular-addition", "--prompts", "12")
    done = unweave(*words, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert (done.document["as_expected"], done.document["known"]) == (2, 2)
    assert done.document["claims"][0]["verdict"] == "supported"
    assert (tmp_path / "report.html").exists()
    assert uw.load(tmp_path / "suite").claim_table()[0]["about"] == done.document["claims"][0]["about"]
    words = ("evaluate", "run", "--suite", "modular-addition", "--prompts", "30")
    plan = unweave(*words, "--dry-run", "--json").document
    assert plan["prompts"] == plan["rows"] == 30
    assert plan["seconds"] > 0
