"""Every public name says what comes out of it, its arguments are those of its signature, and its examples run."""

import ast
import doctest
import importlib
import inspect
import re
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import unweave as uw
from arch_source import modules

SLOW_EXAMPLES: dict[str, str] = {}
"""Name -> why its example takes more than a second."""


def public(module):
    """(dotted name, node) of the module itself and of everything in it that has no underscore."""
    yield module.name, module.tree
    yield from _public(module.tree, module.name)


def _public(node, name):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield f"{name}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _public(child, f"{name}.{child.name}")


DOCUMENTED = {name: node for module in modules() if module.is_public for name, node in public(module)}


def test_everything_public_has_a_docstring():
    assert [name for name, node in DOCUMENTED.items() if not ast.get_docstring(node)] == []


def section(text, title):
    """The lines of a section of a docstring, without its indentation."""
    match = re.search(rf"^{title}:\n((?:[ ]+.*\n?|\n)+)", text, flags=re.MULTILINE)
    return inspect.cleandoc(match[1]) if match else ""


def arguments_of(text):
    """The names that the section `Args` explains, in order."""
    return [
        match[1]
        for line in section(text, "Args").split("\n")
        if (match := re.match(r"\*{0,2}(\w+)(?: \(.*?\))?: ", line))
    ]


def signature_of(node):
    """The parameters, or the fields of a dataclass, that a caller gives."""
    if isinstance(node, ast.ClassDef):
        return [
            one.target.id
            for one in node.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not one.target.id.startswith("_")
        ]
    given = node.args
    names = [one.arg for one in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
    return [name for name in names if name not in ("self", "cls")]


def test_arguments_are_those_of_the_signature():
    """Where there is a section `Args`, it explains every parameter, in order, and nothing else."""
    wrong = {}
    for name, node in DOCUMENTED.items():
        text = ast.get_docstring(node) or ""
        if "Args:\n" in text and arguments_of(text) != signature_of(node):
            wrong[name] = (arguments_of(text), signature_of(node))
    assert wrong == {}


def exported():
    """(name, object) of what `import unweave` gives, and of what its subpackages give."""
    for name, where in uw._WHERE.items():
        value = getattr(uw, name)
        if where:
            yield f"uw.{name}", value
        else:
            for inner in vars(value):
                found = getattr(value, inner)
                if not inner.startswith("_") and getattr(found, "__module__", "").startswith("unweave."):
                    yield f"uw.{name}.{inner}", found


FUNCTIONS = {name: value for name, value in exported() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_exported_functions_explain_their_arguments(name):
    text = inspect.getdoc(FUNCTIONS[name])
    several = [one for one in inspect.signature(FUNCTIONS[name]).parameters if one not in ("self",)]
    assert len(several) < 2 or "Args:\n" in text


DEFAULTS = re.compile(r"\b(defaults? (to|is|are)|by default,? \d|\(default)\b", flags=re.IGNORECASE)


def test_no_default_is_repeated_in_words():
    """A default that stands in the signature alone cannot be wrong anywhere else."""
    told = {
        name: match[0] for name, node in DOCUMENTED.items() if (match := DEFAULTS.search(ast.get_docstring(node) or ""))
    }
    assert told == {}


def examples():
    """(name, example) of every docstring that has one, private ones too."""
    parser = doctest.DocTestParser()
    for module in modules():
        for name, node in [(module.name, module.tree), *_everything(module.tree, module.name)]:
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                yield (
                    name,
                    module.name,
                    parser.get_doctest(text, {}, name, str(module.path), getattr(node, "lineno", 0)),
                )


def _everything(node, name):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{child.name}", child
            yield from _everything(child, f"{name}.{child.name}")


EXAMPLES = {name: (module, example) for name, module, example in examples()}


def test_there_are_examples():
    assert len(EXAMPLES) > 25


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW_EXAMPLES else []) for name in EXAMPLES]
)
def test_examples_run(name, monkeypatch, tmp_path):
    """With the names of their own module, `uw` and the arrays at hand, from a fixed seed, in an empty directory."""
    module, example = EXAMPLES[name]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    own = vars(importlib.import_module(module))
    example.globs = {"uw": uw, "np": np, "torch": torch, **own}
    told = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = doctest.DocTestRunner(verbose=False).run(example, out=told.append, clear_globs=False)
    assert result.failed == 0, "".join(told)
    assert result.attempted > 0


MADE_BY_VERBS = {
    "uw.Section": "Model.section", "uw.Featurizer": "a protocol", "uw.probing.ProbeConfig": "sweep",
    "uw.probing.ProbeSweep": "sweep", "uw.probing.ProbeTable": "sweep_many", "uw.evals.Ablation": "ablate",
    "uw.probing.Control": "random_coordinates", "uw.probing.Evidence": "evidence", "uw.probing.Search": "search",
    "uw.probing.EvidenceConfig": "evidence", "uw.probing.Stability": "reseeds", "uw.probing.Union": "union_support",
    "uw.probing.Winner": "best_unit", "uw.probing.Compound": "compound", "uw.evals.ClassAblation": "ablate_by_class",
    "uw.evals.Context": "contexts", "uw.evals.NeuronCard": "neuron_card",
    "uw.ndm.NDMResult": "fit", "uw.ndm.BlockEdits": "block_edits", "uw.ndm.MergePlan": "plan_merges",
    "uw.ndm.Preimage": "Preimages", "uw.ndm.BlockLabel": "label_blocks", "uw.ndm.Consistency": "block_consistency",
    "uw.ndm.Attribution": "attribute",
    "uw.probing.DenseProbe": "dense_probe", "uw.probing.Pruning": "prune", "uw.probing.ValueSweep": "sweep_values",
    "uw.probing.positions": "sweep_positions", "uw.probing.ClassSweep": "sweep", "uw.probing.Subset": "best_subset",
    "uw.interaction.InteractionResult": "fit", "uw.interaction.NodeAblation": "ablate_nodes",
    "uw.interaction.EdgeAblation": "ablate_edges", "uw.interaction.Modules": "modules",
    "uw.interaction.coordinates": "label", "uw.interaction.digits_subject": "measure_subject",
    "uw.interaction.fourier_labels": "fourier_terms", "uw.interaction.kept_thresholds": "ablate_edges",
    "uw.interaction.labelled": "label", "uw.interaction.language_subject": "measure_subject",
    "uw.interaction.logit_readout": "measure_subject", "uw.interaction.modadd_subject": "measure_subject",
    "uw.interaction.perceptron_subject": "measure_subject", "uw.interaction.top_inputs": "label",
    "uw.interaction.write_graphml": "graph_json", "uw.interaction.write_json": "graph_json",
    "uw.interaction.BasisRun": "measure", "uw.interaction.Subject": "modadd_subject",
    "uw.superposition.Autoencoder": "closed_form", "uw.superposition.Bags": "bags",
    "uw.superposition.Clusters": "clusters", "uw.superposition.Geometry": "geometry",
    "uw.superposition.Grid": "train_grid", "uw.superposition.Matrix": "explain",
    "uw.superposition.PcaDistance": "pca_distance", "uw.superposition.Ring": "ring",
    "uw.superposition.Spectrum": "spectrum", "uw.superposition.ValueCoding": "map_experiment",
    "uw.superposition.Waterfall": "explain", "uw.superposition.World": "world",
    "uw.superposition.shuffle_contexts": "geometry", "uw.superposition.topics": "clusters",
    "uw.superposition.off_diagonal": "pca_distance",
    "uw.evals.Behaviour": "logit_difference", "uw.evals.Contest": "compare", "uw.evals.ContrastStudy": "contrast_study",
    "uw.evals.EvidenceCard": "card",
    "uw.evals.Finding": "interchange_accuracy", "uw.evals.Patching": "patching", "uw.evals.SuiteResult": "run_suite",
    "uw.evals.Verdict": "card", "uw.evals.Claim": "run_suite", "uw.evals.PlantedTask": "planted_task",
    "uw.evals.suite_tests": "run_suite",
    "uw.directions.ContrastProbe": "ccs", "uw.directions.DASConfig": "das", "uw.evals.Transfer": "transfer",
    "uw.directions.LabelledMoments": "labelled_moments", "uw.evals.BehaviourRecovered": "behaviour_recovered",
    "uw.evals.Erasure": "erasure_sufficiency", "uw.evals.Dependence": "subspace_dependence",
    "uw.evals.Dimensions": "dimensionality", "uw.evals.Interference": "interference", "uw.evals.Entropy": "unembedding",
    "uw.evals.LayerStudy": "layer_study", "uw.evals.ReadWrite": "read_write_angle",
    "uw.evals.Reconstruction": "reconstruction", "uw.evals.Sparsity": "sparsity", "uw.evals.Steadiness": "steadiness",
    "uw.evals.Unembedding": "unembedding",
    "uw.evals.Absorption": "absorption", "uw.evals.CodeLength": "code_length", "uw.evals.LearnedMask": "learned_mask",
    "uw.evals.Memory": "memory", "uw.evals.Removal": "spurious_removal",
    "uw.evals.ComponentPatching": "component_patching", "uw.evals.DescriptionLength": "description_length",
    "uw.evals.Interpretation": "interpretation", "uw.evals.Interpreter": "interpretation",
    "uw.evals.Forgetting": "forgetting", "uw.evals.Questions": "forgetting",
    "uw.evals.Effects": "effects_of", "uw.evals.PlainRun": "plain_run", "uw.load": "save",
}  # fmt: skip
"""Exported names without an example of their own -> whose example shows them."""


def test_every_exported_name_shows_how_it_is_used():
    without = {
        name
        for name, value in exported()
        if (inspect.isclass(value) or inspect.isfunction(value)) and ">>>" not in (inspect.getdoc(value) or "")
    }
    assert sorted(without) == sorted(MADE_BY_VERBS)


@pytest.mark.parametrize("package", ["probing", "ndm", "interaction", "superposition", "directions", "evals"])
def test_every_exported_verb_is_on_the_page_of_the_library(package):
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8").split()
    module = importlib.import_module(f"unweave.{package}")
    verbs = [
        one
        for one in vars(module).values()
        if isinstance(one, types.FunctionType) and one.__module__ != module.__name__
    ]
    assert [one.__name__ for one in verbs if f"{one.__module__}.{one.__name__}" not in page] == []
