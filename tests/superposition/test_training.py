"""Training by hand: gradients are those of autograd, grids are their models one by one, decay is not L2."""

import numpy as np
import pytest
import torch

from unweave.errors import InputError
from unweave.superposition.bags import bags
from unweave.superposition.dataset import Matrix, drawn_again
from unweave.superposition.grid import train_grid
from unweave.superposition.linear import spectrum
from unweave.superposition.passes import group_sums, lift_of
from unweave.superposition.slopes import slope
from unweave.superposition.small_grid import train_small
from unweave.superposition.step import Workspace, bag_batch, gradients, row_batch
from unweave.superposition.training import train
from unweave.worlds.correlated import world

RNG = np.random.default_rng(0)
SPARSE = (RNG.random((24, 60)) < 0.05).astype(np.float64)
DENSE = (RNG.random((24, 20)) < 0.4).astype(np.float64)


def by_autograd(x, encoder, decoder, bias, activation, loss, relu_latent):
    E = encoder.clone().requires_grad_()
    D = None if decoder is None else decoder.clone().requires_grad_()
    b = bias.clone().requires_grad_()
    h = x @ E
    h = h.relu() if relu_latent else h
    z = h @ (E if D is None else D).T + b
    if loss == "bce":
        value = torch.nn.functional.binary_cross_entropy_with_logits(z, x)
    else:
        out = {"relu": torch.relu, "linear": lambda one: one, "sigmoid": torch.sigmoid}[activation](z)
        value = (out - x).square().mean()
    value.backward()
    return float(value.detach()), E.grad, None if D is None else D.grad, b.grad


@pytest.mark.parametrize("rows", [SPARSE, DENSE], ids=["sparse", "dense"])
@pytest.mark.parametrize("as_bags", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("activation", "loss", "relu_latent"),
    [
        ("relu", "mse", False),
        ("relu", "mse", True),
        ("linear", "mse", False),
        ("sigmoid", "mse", False),
        ("sigmoid", "bce", False),
    ],
)
def test_gradients_by_hand_are_those_of_autograd(rows, as_bags, tied, activation, loss, relu_latent):
    generator = torch.Generator().manual_seed(1)
    words = rows.shape[1]
    encoder, other = (0.3 * torch.randn(2, words, 5, generator=generator, dtype=torch.float64)).unbind()
    bias = 0.1 * torch.randn(words, generator=generator, dtype=torch.float64)
    decoder = None if tied else other
    row, column = np.nonzero(rows)
    begins = np.searchsorted(row, np.arange(len(rows) + 1))
    batch = bag_batch(column, begins, words) if as_bags else row_batch(rows)
    assert (batch.by_column is not None) == (as_bags and rows is SPARSE)
    found = gradients(batch, encoder, decoder, bias, activation=activation, loss=loss, relu_latent=relu_latent)
    value, *wanted = by_autograd(torch.from_numpy(rows), encoder, decoder, bias, activation, loss, relu_latent)
    assert found.loss == pytest.approx(value, rel=1e-10)
    for mine, theirs in zip((found.encoder, found.decoder, found.bias), wanted, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or torch.allclose(mine, theirs, atol=1e-10)


def test_a_workspace_changes_nothing_and_float32_is_near_float64():
    """The arrays of the last step do not show, whatever the batch; sparse sums in float32 are those in float64."""
    generator = torch.Generator().manual_seed(1)
    encoder, other = (0.3 * torch.randn(2, 60, 5, generator=generator, dtype=torch.float64)).unbind()
    bias = torch.zeros(60, dtype=torch.float64)
    space = Workspace()
    for rows, tied in ((SPARSE, True), (SPARSE[:9], True), (SPARSE, False), (SPARSE[::2], True)):
        row, column = np.nonzero(rows)
        batch = bag_batch(column, np.searchsorted(row, np.arange(len(rows) + 1)), 60)
        told = {"activation": "relu", "loss": "mse", "relu_latent": False}
        wanted = gradients(batch, encoder, None if tied else other, bias, **told)
        low = [one.float() for one in (encoder, other, bias)]
        found = gradients(batch, low[0], None if tied else low[1], low[2], space=space, **told)
        assert torch.allclose(found.encoder.double(), wanted.encoder, atol=1e-7)
        assert tied or torch.allclose(found.decoder.double(), wanted.decoder, atol=1e-7)


LINES = [
    f"w{a} cat{n % 7} dog{n % 5} owl{(n * n) % 11} fox{n % 3}".replace("w", "ab")
    for n, a in enumerate(RNG.integers(0, 9, 400))
]
BAGS = bags(["\n".join(LINES[k : k + 20]) for k in range(0, 400, 20)], vocab=40, window=3)


def test_a_grid_is_its_models_one_by_one():
    grid = train_grid(BAGS, (2, 4), (0.0, 2.0), (0, 1), epochs=3, batch=64)
    assert len(grid.models) == 8
    for model in (grid.models[1], grid.models[-1]):
        alone = train(BAGS, model.width, "relu", model.decay, model.seed, epochs=3, batch=64)
        assert np.array_equal(alone.weight, model.weight)
        assert alone.train_mse == model.train_mse
    rows = grid.table()
    assert [row["width"] for row in rows[:2]] == [2, 4]
    assert grid.select(width=2, decay=2.0, seed=1)[0].decay == 2.0
    again = train_grid(BAGS, (2,), (0.0,), (0,), epochs=3, batch=64).models[0]
    assert np.array_equal(again.weight, grid.models[0].weight)


def test_small_grids_are_their_models_one_by_one_and_do_not_change_their_input():
    x = world("circular", n=400, sharpness=5, base=-2).x
    before = x.copy()
    together = train_small(x, (2, 3), (0.0, 1.0), (0, 1), steps=60)
    for model in (together[0], together[3], together[-1]):
        (alone,) = train_small(x, (model.width,), (model.decay,), (model.seed,), steps=60)
        assert alone.train_mse == pytest.approx(model.train_mse, rel=1e-5)
        assert np.allclose(alone.weight, model.weight, atol=1e-5)
    assert np.array_equal(x, before)


def test_linear_models_never_go_below_the_bound():
    found = spectrum(BAGS)
    for width, decay in ((3, 0.0), (3, 1.0)):
        model = train(BAGS, width, "linear", decay, lr=0.03, epochs=120, batch=64)
        assert model.train_mse >= found.bound(width) - 1e-7
        assert model.train_mse < 1.5 * found.bound(width) or decay
    for model in train_small(world("circular", n=300).x, (2, 5), (0.0,), activation="linear", steps=300):
        assert model.train_mse >= spectrum(world("circular", n=300).x).bound(model.width) - 1e-6


def test_l2_in_the_loss_ends_at_its_closed_form():
    x = Matrix(x=DENSE, vocab=[str(n) for n in range(20)])
    closed = spectrum(x).model(4, 0.2)
    model = train(x, 4, "linear", decay=0.0, l2=0.2, optimizer="adam", lr=0.02, epochs=1500, batch=24, dtype="float64")
    assert model.objective == pytest.approx(closed.objective, rel=1e-4)
    assert model.objective >= closed.objective - 1e-9


def test_decoupled_decay_bounds_every_weight():
    """AdamW's fixed point: abs(w) stays about 1/decay or below, norm^2 about m d / decay^2."""
    x = world("circular").x
    for model in train_small(
        x, (2, 4, 8, 12), (6.0,), steps=6000
    ):  # with a quarter of the steps wide ones are not there
        assert 0.7 < model.norm2 / (model.width * 12 / 36) < 1.3
        assert np.abs(model.weight).max() <= 0.25
    (free,) = train_small(x, (2,), (0.0,), steps=300)
    assert np.abs(free.weight).max() > 0.3


def test_cross_entropy_of_a_constant_is_entropy_and_chances_below_a_half_occur():
    p = 0.2
    x = Matrix(x=(np.arange(50)[:, None] % 5 == 0).astype(float) * np.ones((1, 4)), vocab=list("abcd"))
    batch = row_batch(x.x)
    bias = torch.full((4,), float(np.log(p / (1 - p))), dtype=torch.float64)
    zero = torch.zeros(4, 2, dtype=torch.float64)
    found = gradients(batch, zero, None, bias, activation="sigmoid", loss="bce", relu_latent=False)
    assert found.loss == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)))
    model = train(x, 1, "sigmoid", 0.0, loss="bce", lr=0.05, epochs=100, batch=50)
    out = model.reconstruct(x.x)
    assert out.min() < 0.5 < out.max()


def test_a_model_that_diverges_stops_and_says_so():
    model = train(BAGS, 4, "linear", 0.0, optimizer="sgd", lr=1e3, epochs=30, batch=64)
    assert np.isfinite(model.weight).all()
    assert "training stopped there, lower lr" in model.warnings[0]
    good, bad = (
        train_small(20 * DENSE, (2,), (decay,), activation="linear", steps=40, lr=rate, clip=None)[0]
        for decay, rate in ((0.0, 0.01), (0.0, 1e6))
    )
    assert not good.warnings
    assert np.isfinite(bad.weight).all()


def test_history_precision_clip_and_rows_of_a_user():
    model = train(BAGS, 4, epochs=10, batch=64, clip=0.01, decay_bias=True)
    assert len(model.history) >= 10
    assert model.history[-1].step == 10 * -(-len(BAGS.split("train")) // 64)
    assert 0 < model.history[-1].held_out < 1
    half = train(BAGS, 4, epochs=10, batch=64, dtype="bfloat16")
    full = train(BAGS, 4, epochs=10, batch=64)
    assert half.train_mse == pytest.approx(full.train_mse, rel=0.02)
    from scipy.sparse import csr_matrix

    assert train(csr_matrix(DENSE), 3, epochs=2).weight.shape == (3, 20)


def test_slopes_over_decay_have_intervals_over_seeds():
    rows = [
        {"seed": s, "decay": d, "width": w, "y": 2 * d + 5 * np.log2(w) + s + (0.01 * d * s)}
        for s in range(4) for d in (0.0, 1.0, 4.0) for w in (2, 8)
    ]  # fmt: skip
    found = slope(rows, "y")
    assert found.low < 2.015 < found.high
    assert slope(rows, "y", "width", beside="decay").value == pytest.approx(5)
    assert np.isnan(slope(rows[:6], "y").low)


def test_documents_drawn_again_keep_documents_whole():
    drawn = drawn_again(BAGS, 0)
    for name in ("train", "test"):
        own, was = drawn.split(name), BAGS.split(name)
        documents, times = np.unique(BAGS.documents[own], return_counts=True)
        sizes = np.bincount(BAGS.documents[was])[documents]
        assert set(own) <= set(was)
        assert (times % sizes == 0).all()
        assert name == "test" or (times > sizes).any()
    assert np.array_equal(drawn.split("validation"), BAGS.split("validation"))
    assert np.array_equal(drawn_again(BAGS, 0).split("train"), drawn.split("train"))


def test_what_is_drawn_again_is_compared_with_its_own_bound():
    """The error of a model on documents drawn again lies above the bound of those, not always above that of all."""
    options = {"lr": 0.03, "epochs": 20, "batch": 64}
    grid = train_grid(BAGS, (3,), (0.0,), (0, 1), activation="linear", resample=True, **options)
    for model in grid.models:
        rows = drawn_again(BAGS, model.seed)
        mine = Matrix(x=rows.take(rows.split("train"), "float64"), vocab=BAGS.vocab)
        own = spectrum(mine, 3)
        assert grid.spectrum_of(model).bound(3) == pytest.approx(own.bound(3), rel=1e-9)
        assert model.train_mse >= own.bound(3) - 1e-7
    assert grid.table()[0]["bound"] != pytest.approx(grid.spectrum.bound(3), rel=1e-3)
    held = rows.split("test")
    x = rows.take(held, "float64")
    rest = model.sums(x) - model.bias - model.self_weight * x
    for i in np.flatnonzero(x.any(0) & ~x.all(0))[:5]:
        means = rest[x[:, i] > 0, i].mean() - rest[x[:, i] == 0, i].mean()
        assert lift_of(group_sums(model, rows, held))[i] == pytest.approx(means, abs=1e-5)


def test_an_interval_over_documents_drawn_again_does_not_shrink_with_draws():
    """The spread of bootstrap slopes is the standard error of one estimate: many draws leave it as wide."""
    rng = np.random.default_rng(3)
    rows = [
        {"seed": s, "decay": d, "width": 2, "y": d * e} for s, e in enumerate(rng.normal(1, 0.5, 400)) for d in (0, 1)
    ]
    few = slope(rows, "y", resampled=True)
    assert (few.high - few.low) / 2 == pytest.approx(1.966 * 0.5, rel=0.1)
    plain = slope(rows, "y")
    assert (few.high - few.low) / (plain.high - plain.low) == pytest.approx(401**0.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "width is 0"), ({"decay": -1.0}, "decay is -1.0"), ({"activation": "rleu"}, "relu"),
        ({"loss": "mae"}, "mse"), ({"l2": -0.1}, "l2"), ({"epochs": -1}, "epochs"), ({"batch": 0}, "batch"),
        ({"dtype": "float16"}, "precision"), ({"loss": "bce"}, "a ReLU has no logits"),
        ({"seed": -1}, "seed is -1: a number from 0 up"),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(options, words):
    with pytest.raises(InputError, match=words):
        train(BAGS, **options)
    with pytest.raises(InputError, match="at least"):
        train_grid(BAGS, ())
    with pytest.raises(InputError, match="bags, or a matrix"):
        train("text")
