"""What cannot be fitted or ablated is said in one line."""

from dataclasses import replace

import pytest
import torch

from interaction.nets import affine, draw, perceptron, transformer, without_forms
from unweave.errors import DataError, InputError, UnknownName
from unweave.interaction.ablation import ablate_nodes
from unweave.interaction.edge_ablation import ablate_edges
from unweave.interaction.fit import fit
from unweave.models.tokens import Tokens

X = draw(40, 5)


def test_options_are_checked_before_anything_runs():
    for options, message in [
        ({"basis": "lip"}, "unknown basis 'lip'; nearest: 'lib'"),
        ({"edges": "squard"}, "unknown kind of edges 'squard'; nearest: 'squared'"),
        ({"integration": "simpson"}, "unknown integration rule 'simpson'"),
        ({"sources": 0}, "at least one source is needed"),
        ({"batch": 0}, "batch: "),
        ({"rel_D": -1.0}, "rel_variance: "),
        ({"dtype": "float16"}, "dtype: "),
    ]:
        with pytest.raises(InputError, match=message):
            fit(perceptron(), X, **options)


def test_chains_must_chain():
    one, two, three = perceptron()
    with pytest.raises(InputError, match="no sections"):
        fit([], X)
    with pytest.raises(InputError, match=r"layers.0 -> layers.1 \(7 wide\) is followed by layers.2 -> output"):
        fit([one, three], X)
    with pytest.raises(InputError, match="a node layer occurs twice"):
        fit([replace(one, site_out=one.site_in, d_out=7), replace(two, site_in=one.site_in)], X)


def test_data_that_carry_nothing_are_named():
    with pytest.raises(DataError, match="there are no inputs"):
        fit(perceptron(), [])
    with pytest.raises(DataError, match=r"layers.0 has NaN or infinite values at row 3 of a batch"):
        fit(perceptron(), X.index_fill(0, torch.tensor([3]), torch.nan))
    with pytest.raises(DataError, match=r"layers.0 is the same for all 40 rows: nothing varies there"):
        fit(perceptron(), torch.ones(40, 5).double())


def test_a_cut_above_everything_is_told_from_data_that_do_not_vary():
    with pytest.raises(
        DataError, match=r"no variance at layers.2 is above the cut 1e\+09, the largest is .*: cut lower"
    ):
        fit(perceptron(), X, abs_threshold=1e9)


def test_dead_units_are_listed_and_rank_is_what_varies():
    inputs = torch.cat([X[:, :3], X[:, :1] + X[:, 1:2], torch.ones(40, 1).double()], 1)
    found = fit(perceptron(), inputs).ranks["layers.0"]
    assert (found.variances, found.dead) == (3, (4,))


def test_fewer_rows_than_coordinates_give_their_rank():
    assert fit(perceptron(), X[:4]).ranks["layers.0"].variances == 3


def test_featurizers_must_fit_their_layer():
    with pytest.raises(UnknownName, match=r"unknown layer 'layers.9'"):
        fit(perceptron(), X, basis={"layers.9": affine(5, 2)})
    with pytest.raises(InputError, match=r"the featurizer for layers.1 has width 5 but the layer has 7"):
        fit(perceptron(), X, basis={"layers.1": affine(5, 2)})


def test_folding_needs_the_weights():
    with pytest.raises(InputError, match="known as a function only, so its biases cannot be folded"):
        fit(without_forms(perceptron()), X, fold_bias=True)


def test_text_and_padding_are_refused():
    with pytest.raises(InputError, match="inputs are text: give token ids"):
        fit(perceptron(), ["some text"])
    ids = torch.tensor([[1, 2], [3, 0]])
    with pytest.raises(InputError, match="some sequences are padded"):
        fit(perceptron(), Tokens(ids=ids, mask=torch.tensor([[1, 1], [1, 0]]).bool()))


def test_one_batch_has_no_intervals():
    found = fit(perceptron(), X)
    with pytest.raises(InputError, match="one batch has no spread"):
        found.edge_interval("layers.0", "layers.1")
    with pytest.raises(UnknownName, match="unknown pair of layers"):
        found.edge_interval("layers.0", "output")
    low, high = fit(perceptron(), X, batch=5).edge_interval("layers.0", "layers.1")
    assert bool((low <= high).all())


def test_ablation_needs_the_same_chain_and_fitting_targets():
    sections = perceptron()
    found, targets = fit(sections, X), torch.zeros(40).long()
    with pytest.raises(InputError, match=r"the sections go through .* but the result is of"):
        ablate_nodes(found, transformer(), X, targets)
    with pytest.raises(InputError, match="there are 40 inputs but 3 targets"):
        ablate_nodes(found, sections, X, targets[:3])
    with pytest.raises(UnknownName, match="unknown score 'acuracy'; nearest: 'accuracy'"):
        ablate_nodes(found, sections, X, targets, score="acuracy")
    with pytest.raises(UnknownName, match="unknown layer 'output'"):
        ablate_nodes(found, sections, X, targets, layers=["output"])
    with pytest.raises(UnknownName, match="unknown schedule 'exponent'"):
        ablate_nodes(found, sections, X, targets, schedule="exponent")
    with pytest.raises(InputError, match="schedule is 'linear': 'bisect', or numbers of edges"):
        ablate_edges(found, sections, X, targets, schedule="linear")
    with pytest.raises(InputError, match="the result has no edges"):
        ablate_edges(fit(sections, X, edges="none"), sections, X, targets)


def test_norms_of_edges_are_named():
    with pytest.raises(UnknownName, match="unknown norm of edges 'logg'; nearest: 'log'"):
        fit(perceptron(), X).graph("logg")
