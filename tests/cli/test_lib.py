"""`unweave lib`: the contract of modadd, fits of other models, comparison, and what is wrong in one line."""

import pytest
import torch

import unweave as uw
from unweave.interaction import schedules
from unweave.models.modadd import ModularAddition


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small untrained adder in the authors' format, with the buffers that its files carry."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = ModularAddition(modulus=11, width=10, heads=2, head_width=4, neurons=12).state_dict()
    state |= {"blocks.0.attn.mask": torch.ones(3, 3).tril().bool(), "blocks.0.attn.IGNORE": torch.tensor(-torch.inf)}
    path = tmp_path_factory.mktemp("lib") / "adder.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("basis", ["lib", "pca"])
def test_modadd_prints_what_outside_checks_rely_on(unweave, checkpoint, basis):
    done = unweave("lib", "modadd", "--checkpoint", str(checkpoint), "--basis", basis, "--json", "-q")
    found = done.document
    assert done.code == 0
    assert list(found) == [
        "dims", "lambdas", "edges_required", "node_ablation", "accuracy", "seconds", "peak_mb",
    ]  # fmt: skip
    for key in ("dims", "lambdas", "edges_required", "node_ablation"):
        assert list(found[key]) == ["ln1.0", "ln2.0", "unembed"]
    for layer in found["dims"]:
        assert found["dims"][layer] == 1 + len(found["lambdas"][layer])
        assert found["lambdas"][layer] == sorted(found["lambdas"][layer], reverse=True)
        assert list(found["node_ablation"][layer]) == [str(n) for n in schedules.exponential(11)]
        assert found["node_ablation"][layer]["11"] == found["accuracy"]


def test_modadd_says_what_share_of_the_needed_directions_is_about_one_frequency(unweave, checkpoint, tmp_path):
    done = unweave("lib", "modadd", "--checkpoint", str(checkpoint), "--report", str(tmp_path / "page"))
    assert done.code == 0
    assert "Direction 1 of ln1.0" in (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert "needed directions with 90 % of their power at one frequency: " in done.out


def test_a_fit_is_saved_loaded_and_compared(unweave, tmp_path):
    done = unweave("lib", "fit", "--model", "zoo:digits", "--out", str(tmp_path / "lib"))
    assert done.code == 0
    assert "nodes needed" in done.out
    assert repr(uw.load(tmp_path / "lib")).startswith("BasisRun(zoo:digits, lib")
    subject = uw.interaction.digits_subject(uw.load_model("zoo:digits"))
    uw.save(uw.interaction.measure_subject(subject, basis="pca"), tmp_path / "pca")  # its graph's null takes seconds
    done = unweave("lib", "compare", str(tmp_path / "lib"), str(tmp_path / "pca"), "--json")
    rows = {row["basis"]: row for row in done.document["bases"]}
    assert rows["lib"]["edges"] < rows["pca"]["edges"]
    assert rows["pca"]["edges against lib"] == rows["pca"]["edges"] - rows["lib"]["edges"]
    page = tmp_path / "page"
    done = unweave("lib", "compare", str(tmp_path / "lib"), str(tmp_path / "pca"), "--report", str(page))
    assert "summed over layers" in done.out
    assert done.out.endswith(f"report: {page / 'report.html'}\n")
    done = unweave("lib", "compare", str(tmp_path / "lib"), str(tmp_path / "pca"), "--layers")
    assert "layers.2" in done.out


def test_a_language_model_says_its_plan_first(unweave, plans, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The for statement iterates over the elements of a sequence, and then it stops.\n" * 30)
    few = ("--context", "8", "--windows", "2", "--basis", "pca")
    done = unweave("lib", "fit", "--model", "zoo:docs-xs", "--text", str(text), "--dry-run", "--json", *few)
    plan = done.document
    assert done.code == 0
    assert plan["sections"][-1] == "blocks.3.resid_post -> final_norm"
    assert min(plan["inputs"], plan["bytes"], plan["seconds"], plan["disk_bytes"]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lib", "modadd", "--checkpoint", "no.pt"), "no checkpoint at no.pt"),
        (("lib", "modadd", "--basis", "lip"), "unknown basis 'lip'; nearest: 'lib'"),
        (("lib", "fit", "--model", "zoo:docs"), "zoo:docs needs text"),
        (("lib", "compare", "nothing"), "no artifact at nothing"),
        (("lib", "fit", "--model", "zoo:digits", "--seed", "-1"), "Invalid value for '--seed'"),
        (("lib", "fit", "--model", "zoo:digits", "--sources", "-1"), "Invalid value for '--sources'"),
        (("lib", "fit", "--model", "zoo:docs", "--text", ".", "--context", "0"), "Invalid value for '--context'"),
    ],
)
def test_what_is_wrong_is_said(unweave, arguments, message):
    done = unweave(*arguments, "-q") if arguments[1] != "compare" else unweave(*arguments)
    assert done.code == 2
    assert message in done.message


def test_a_place_that_is_taken_is_told_before_anything_is_computed(unweave, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for command in (("fit", "--model", "zoo:digits"), ("modadd",)):
        done = unweave("lib", *command, "--out", str(tmp_path))
        assert done.code == 2
        assert done.message == f"unweave: {tmp_path} exists and is not an artifact: choose another path"
        assert done.err.count("\n") == 1


def test_a_page_has_a_directory_of_its_own(unweave, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for place, message in (
        (tmp_path, "which holds other files: choose an empty directory"),
        (tmp_path / "mine.txt" / "page", "mine.txt is a file: choose a directory"),
    ):
        done = unweave("lib", "modadd", "--report", str(place))
        assert done.code == 2
        assert message in done.message
    done = unweave("lib", "modadd", "--report", str(tmp_path / "one"), "--out", str(tmp_path / "one"))
    assert "choose two directories" in done.message


def test_a_file_that_is_no_checkpoint_is_named(unweave, tmp_path):
    wrong = tmp_path / "wrong.pt"
    for content in (b"not a checkpoint", b"hello"):  # the second is an instruction to pickle
        wrong.write_bytes(content)
        done = unweave("lib", "modadd", "--checkpoint", str(wrong), "-q")
        assert done.code == 2
        assert "is no checkpoint of tensors alone" in done.message
    torch.save([1, 2], wrong)
    done = unweave("lib", "modadd", "--checkpoint", str(wrong), "-q")
    assert done.code == 2
    assert "holds a list, not a state dict" in done.message


def test_options_of_language_models_are_refused_for_others(unweave, tmp_path):
    (tmp_path / "text.txt").write_text("A text.")
    for given in (("--block", "1"), ("--text", str(tmp_path / "text.txt"))):
        done = unweave("lib", "fit", "--model", "zoo:digits", *given)
        assert done.code == 2
        assert "zoo:digits is measured on its own data: a text and a block are for language models" in done.message


def test_a_checkpoint_that_is_none_is_said_in_our_words(unweave, tmp_path):
    """torch advises to load it without the guard; nobody should read that here."""
    (tmp_path / "no.pt").write_bytes(b"feature,document,label\n")
    done = unweave("lib", "modadd", "--checkpoint", tmp_path / "no.pt")
    assert done.code == 2
    assert done.message.endswith(": give a state dict")
    assert "weights_only" not in done.err
