"""Dictionaries and control vectors of other libraries: the rules of specs/ecosystem.md 5, hostile files, refusals."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.features.activation import Activation
from unweave.features.foreign import load_gguf, load_saelens, load_sparsify, save_gguf, save_saelens

D, K = 5, 9
SITE = "blocks.2.hook_resid_pre"


def parts(seed=0):
    rng = np.random.default_rng(seed)
    names = {"W_enc": (D, K), "W_dec": (K, D), "b_enc": (K,), "b_dec": (D,), "threshold": (K,)}
    found = {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in names.items()}
    return found | {"threshold": found["threshold"].abs() * 0.3}


def folder_with(path, tensors, name="sae_weights.safetensors", **config):
    path.mkdir(parents=True, exist_ok=True)
    save_file({key: one.contiguous() for key, one in tensors.items()}, path / name)
    (path / "cfg.json").write_text(json.dumps(config))
    return path


def base(architecture, **more):
    return {"architecture": architecture, "d_in": D, "d_sae": K, "metadata": {"hook_name": SITE}, "odd": 1, **more}


def by_hand(t, x, architecture, *, applied=True, k=3, rescale=False):
    """What SAELens computes, row by row as its code says, without normalisation."""
    pre = (x - t["b_dec"] if applied else x) @ t["W_enc"] + t["b_enc"]
    if architecture == "standard":
        z = pre.relu()
    elif architecture == "jumprelu":
        z = pre.relu() * (pre > t["threshold"])
    else:
        norms = t["W_dec"].norm(dim=1) if rescale else torch.ones(K)
        scaled = pre * norms
        z = torch.zeros_like(pre)
        for row, values in enumerate(scaled):
            best = values.topk(k).indices
            z[row, best] = values[best].relu() / norms[best]
    return z, z @ t["W_dec"] + t["b_dec"]


CASES = [
    (architecture, applied, rescale)
    for architecture in ("standard", "jumprelu", "topk")
    for applied in (True, False)
    for rescale in ((False, True) if architecture == "topk" else (False,))
]


@pytest.mark.parametrize(("architecture", "applied", "rescale"), CASES)
def test_a_dictionary_computes_what_its_library_computes(tmp_path, architecture, applied, rescale):
    """Plain, with a factor and with whitening: to 1e-12 in float64, and the residual makes the round trip exact."""
    t, x = parts(), 2 * torch.from_numpy(np.random.default_rng(1).normal(size=(40, D)))
    config = base(architecture, apply_b_dec_to_input=applied, k=3, rescale_acts_by_decoder_norm=rescale)
    options = {"applied": applied, "rescale": rescale}
    rng = np.random.default_rng(2)
    mean, matrix, c = torch.from_numpy(rng.normal(size=D)), torch.from_numpy(rng.normal(size=(D, D))), 1.7
    cases = {
        "none": ({}, x, lambda out: out),
        "expected_average_only_in": ({"factor": c}, c * x, lambda out: out / c),
        "whitening": (
            {"whitening": (mean, matrix)},
            (x - mean) @ matrix,
            lambda o: o @ torch.linalg.inv(matrix) + mean,
        ),
    }
    for norm, (given, inside, outside) in cases.items():
        path = folder_with(tmp_path / norm, t, **config, normalize_activations=norm)
        loaded = load_saelens(path, **given)
        expected, rebuilt = by_hand(t, inside, architecture, **options)
        z, residual = loaded.featurizer.encode(x)
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)
        assert 0 < float((z != 0).double().mean()) < 1
        torch.testing.assert_close(x - residual, outside(rebuilt), rtol=0, atol=1e-10)
        torch.testing.assert_close(loaded.featurizer.decode(z, residual), x)
        assert loaded.featurizer.site == "blocks.2.resid_pre"
        assert loaded.extra["odd"] == 1


@pytest.mark.parametrize(("architecture", "applied", "rescale"), CASES)
def test_what_is_written_computes_the_same(tmp_path, architecture, applied, rescale):
    config = base(architecture, apply_b_dec_to_input=applied, k=3, rescale_acts_by_decoder_norm=rescale)
    first = load_saelens(folder_with(tmp_path / "a", parts(), **config)).featurizer
    second = load_saelens(save_saelens(first, tmp_path / "b", model_name="tiny")).featurizer
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(30, D)))
    assert torch.equal(first.encode(x)[0], second.encode(x)[0])
    assert torch.equal(first.encode(x)[1], second.encode(x)[1])
    assert first.site == second.site
    assert json.loads((tmp_path / "b/cfg.json").read_text())["metadata"]["hook_name"] == SITE


def test_files_of_earlier_versions(tmp_path):
    t = parts()
    old = {"hook_point": SITE, "d_in": D, "d_sae": K, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
    found = load_saelens(folder_with(tmp_path / "a", t, **old)).featurizer
    assert (found.act.kind, found.act.k, found.site) == ("top_k", 3, "blocks.2.resid_pre")
    with pytest.raises(InputError, match=r"its factor is not in the file: give factor="):
        load_saelens(folder_with(tmp_path / "b", t, **old, normalize_activations=True))
    single = {name: one.float() for name, one in t.items()}
    assert load_saelens(folder_with(tmp_path / "c", single, **old)).featurizer.read.dtype == torch.float32


REFUSALS = {
    "gated": (base("gated"), "is a 'gated' dictionary: its gate and its magnitude are two maps"),
    "temporal": (base("temporal"), "it reads several positions at once"),
    "matching pursuit": (base("matching_pursuit"), "its encoder is an iteration"),
    "layer norm": (base("standard", normalize_activations="layer_norm"), "divided by its own spread, which is not"),
    "row length": (base("standard", normalize_activations="constant_norm_rescale"), "divided by its own length"),
    "no factor": (base("standard", normalize_activations="expected_average_only_in"), "give factor="),
    "no whitening": (base("standard", normalize_activations="whitening"), "give whitening="),
    "other norm": (base("standard", normalize_activations="layernorm"), "unknown normalize_activations 'layernorm'"),
    "other architecture": (base("standrad"), "unknown architecture 'standrad'; nearest: 'standard'"),
    "sizes": ({**base("standard"), "d_sae": 0}, "says d_sae = 0: a whole number from 1"),
    "other sizes": ({**base("standard"), "d_sae": 8}, r"W_enc is \(5, 9\), \(5, 8\) is needed; W_dec is"),
    "huge": ({**base("standard"), "d_sae": 2**40}, r"W_enc is \(5, 9\), \(5, 1099511627776\) is needed"),
    "noise": (base("standard", noise_scale=0.1), "adds noise of scale 0.1"),
    "no k": (base("topk"), "says k = None"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_affine_featurizer_is_refused_by_name(tmp_path, name):
    config, message = REFUSALS[name]
    with pytest.raises(InputError, match=message):
        load_saelens(folder_with(tmp_path / "a", parts(), **config))


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    t = parts()
    few = {name: t[name] for name in ("W_enc", "b_enc")}
    with pytest.raises(InputError, match=r"has no W_dec, b_dec, threshold: it has W_enc, b_enc"):
        load_saelens(folder_with(tmp_path / "few", few, **base("jumprelu")))
    with pytest.raises(InputError, match="a dictionary is a directory with"):
        load_saelens(tmp_path / "none")
    whole = folder_with(tmp_path / "a", t, **base("standard"))
    weights = whole / "sae_weights.safetensors"
    content = weights.read_bytes()
    for length in (0, 5, 8, 100, len(content) - 1):
        weights.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"no safetensors file|is cut or damaged"):
            load_saelens(whole)
    weights.write_bytes(struct.pack("<Q", 2**40) + content[8:])
    with pytest.raises(InputError, match="claims a header of 1099511627776 bytes"):
        load_saelens(whole)
    (whole / "cfg.json").write_text("[1]")
    with pytest.raises(InputError, match="holds a list: a table"):
        load_saelens(whole)
    with pytest.raises(InputError, match=r"whole numbers|floating-point numbers are needed"):
        load_saelens(folder_with(tmp_path / "int", {**t, "W_enc": torch.ones(D, K).int()}, **base("standard")))


def test_what_has_no_place_in_the_format_is_not_written(tmp_path):
    with pytest.raises(InputError, match="nonlinearity 'identity': SAELens has dictionaries with relu"):
        save_saelens(uw.AffineFeaturizer(read=torch.eye(3)), tmp_path / "a")
    relu = {"read": torch.eye(3, 4), "act": Activation(kind="relu")}
    with pytest.raises(InputError, match="is at 2 sites"):
        save_saelens(uw.AffineFeaturizer(**relu, site=("embed", "final_norm")), tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    with pytest.raises(InputError, match="is not empty"):
        save_saelens(uw.AffineFeaturizer(**relu), tmp_path / "full")
    odd = Activation(kind="top_k", k=2, scale=torch.arange(1.0, 5))
    with pytest.raises(InputError, match="ranked by a scale that is not the length"):
        save_saelens(uw.AffineFeaturizer(read=torch.eye(3, 4), write=torch.ones(4, 3), act=odd), tmp_path / "b")


def test_sparsify_stores_the_decoder_as_it_is(tmp_path):
    t = parts()
    stored = {"encoder.weight": t["W_enc"].T, "encoder.bias": t["b_enc"], "W_dec": t["W_dec"], "b_dec": t["b_dec"]}
    config = {"d_in": D, "num_latents": K, "k": 3, "normalize_decoder": True}
    path = folder_with(tmp_path / "a", stored, "sae.safetensors", **config)
    found = load_sparsify(path, site="blocks.1.resid_post").featurizer
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(30, D)))
    z, residual = found.encode(x)
    expected, rebuilt = by_hand(t, x, "topk")
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(x - residual, rebuilt)
    for wrong, message in (
        ({"transcode": True}, "has transcode: it writes at another site"),
        ({"skip_connection": True}, "has skip_connection"),
        ({"activation": "groupmax"}, "has the activation 'groupmax'"),
        ({"k": None}, "says k = None"),
        ({"num_latents": 4}, r"encoder.weight is \(9, 5\), \(4, 5\) is needed"),
    ):
        with pytest.raises(InputError, match=message):
            load_sparsify(folder_with(tmp_path / "b", stored, "sae.safetensors", **{**config, **wrong}))


def control(layers=(1, 4), width=8, seed=0):
    rng = np.random.default_rng(seed)
    parts = {
        f"blocks.{layer}.resid_post": uw.Direction(vector=rng.normal(size=width).astype(np.float32)) for layer in layers
    }
    return uw.Bundle(parts=parts)


@pytest.mark.parametrize("width", [1, 7, 8, 64])
def test_a_control_vector_comes_back_bit_equal(tmp_path, width):
    given = control(layers=(4, 1, 10), width=width)
    found = load_gguf(save_gguf(given, tmp_path / "a.gguf", model_hint="mistral é"), model="m")
    assert set(found.directions) == set(given)
    assert all(torch.equal(found.directions[site].vector, given[site].vector) for site in given)
    assert (found.model_hint, found.extra["controlvector.layer_count"]) == ("mistral é", 3)
    assert found.directions["blocks.1.resid_post"].provenance.model == "m"


def test_the_layout_is_that_of_the_format(tmp_path):
    """Read by hand: magic, version, counts, and the data of direction.4 after that of direction.1."""
    content = save_gguf(control(), tmp_path / "a.gguf").read_bytes()
    assert content[:24] == b"GGUF" + struct.pack("<IQQ", 3, 2, 3)
    assert b"general.architecture" + struct.pack("<IQ", 8, 13) + b"controlvector" in content
    assert b"controlvector.layer_count" + struct.pack("<II", 4, 2) in content
    entry = content.index(b"direction.4") + len(b"direction.4")
    assert struct.unpack_from("<IQIQ", content, entry) == (1, 8, 0, 32)
    assert content[-32:] == control()["blocks.4.resid_post"].vector.numpy().tobytes()


def test_a_file_that_is_cut_anywhere_is_refused_without_an_allocation(tmp_path):
    whole = save_gguf(control(layers=(1,)), tmp_path / "a.gguf").read_bytes()
    assert 250 < len(whole) < 330
    file = tmp_path / "cut.gguf"
    tracemalloc.start()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_gguf(file)
    for place in range(8, len(whole) - 40):
        for claim in (2**40, 2**64 - 1):
            file.write_bytes(whole[:place] + struct.pack("<Q", claim) + whole[place + 8 :])
            try:
                load_gguf(file)
            except InputError:
                continue
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_block_zero_and_other_sites_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"llama.cpp refuses a direction for block 0"):
        save_gguf(control(layers=(0, 1)), tmp_path / "a.gguf")
    whole = save_gguf(control(layers=(1,)), tmp_path / "a.gguf").read_bytes()
    (tmp_path / "b.gguf").write_bytes(whole.replace(b"direction.1", b"direction.0"))
    with pytest.raises(InputError, match="a direction for block 0"):
        load_gguf(tmp_path / "b.gguf")
    with pytest.raises(InputError, match="is not the output of a block"):
        save_gguf(uw.Bundle(parts={"blocks.1.mlp_out": uw.Direction(vector=[1.0])}), tmp_path / "a.gguf")
    with pytest.raises(InputError, match="holds featurizers"):
        save_gguf(uw.Bundle(parts={"blocks.1.resid_post": uw.features.neurons(2)}), tmp_path / "a.gguf")
    two = {f"blocks.{n}.resid_post": uw.Direction(vector=[1.0] * n) for n in (1, 2)}
    with pytest.raises(InputError, match=r"the widths \[1, 2\]"):
        save_gguf(uw.Bundle(parts=two), tmp_path / "a.gguf")
    with pytest.raises(InputError, match="too large for float32"):
        save_gguf(uw.Bundle(parts={"blocks.1.resid_post": uw.Direction(vector=[1e300])}), tmp_path / "a.gguf")
    for old, new, message in (
        (b"controlvector", b"controlvectoR", "its architecture is 'controlvectoR'"),
        (b"GGUF", b"GGML", "does not begin with 'GGUF'"),
        (b"GGUF\x03", b"GGUF\x01", "it has version 1"),
        (b"direction.1", b"direktion.1", "directions are called direction.N"),
    ):
        (tmp_path / "c.gguf").write_bytes(whole.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            load_gguf(tmp_path / "c.gguf")
    with pytest.raises(InputError, match="no file at"):
        load_gguf(tmp_path / "none.gguf")


def test_a_control_vector_acts_on_the_output_of_its_block(tmp_path):
    from unweave.models.operators import add

    model = tiny.model_of("gpt2")
    loaded = load_gguf(save_gguf(control(layers=(1,), width=32), tmp_path / "a.gguf")).directions
    direction, tokens = loaded["blocks.1.resid_post"], tiny.ids_of()
    with model.edit(uw.Edit(site="blocks.1.resid_post", operator=add(direction, dose=2.0))):
        edited = model(tokens)
    hook = model.module.transformer.h[1].register_forward_hook(lambda _m, _a, out: out + 2 * direction.vector)
    expected = model.module(tokens).logits
    hook.remove()
    torch.testing.assert_close(edited, expected)


def test_an_activation_checks_its_scale():
    with pytest.raises(InputError, match="scale= belongs to 'top_k' only, and must be positive"):
        Activation(kind="relu", scale=torch.ones(2))
    with pytest.raises(InputError, match=r"scale has shape \(2,\): \(3,\) is needed"):
        uw.AffineFeaturizer(read=torch.eye(3), act=Activation(kind="top_k", k=1, scale=torch.ones(2)))
    assert issubclass(UnknownName, InputError)
