"""What must work in an environment that has one of the peers: run by `beside.py` with that environment's Python.

    python benchmarks/beside_smoke.py before nnsight      # the peer is imported before unweave, or after it

A capture that equals a hook written by hand, a store, and what the two exchange: names, caches and hooks with TransformerLens; traces with nnsight; dictionaries,
caches and synthetic models with SAELens. One JSON line: what was checked.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

IMPORTED = {"transformer-lens": "transformer_lens", "nnsight": "nnsight", "sae-lens": "sae_lens"}
SITE = "blocks.0.resid_post"


def main() -> None:
    order, peer = sys.argv[1:]
    if order == "before":
        importlib.import_module(IMPORTED[peer])
    import torch

    import unweave as uw

    checked = ["capture equals a hook", "store"]
    module, model = tiny()
    ids = torch.randint(0, 97, (2, 9))
    seen: list[Any] = []
    handle = module.transformer.h[0].register_forward_hook(
        lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        module(ids)
    handle.remove()
    same(model.capture(ids, SITE)[SITE], seen[0])
    store = uw.collect(model, ids.tolist(), "blocks.*.resid_post", f"{tempfile.mkdtemp()}/store", dtype="float32")
    if len(store) != 18:
        raise SystemExit(f"the store has {len(store)} rows of 18")
    if order == "after":
        importlib.import_module(IMPORTED[peer])
    checked += {"transformer-lens": with_lens, "nnsight": with_nnsight, "sae-lens": with_saelens}[peer](
        model, ids, store
    )
    checked += offloaded(model, ids)
    print(json.dumps({"order": order, "checked": checked}))


def tiny() -> tuple[Any, Any]:
    """GPT-2 with random weights and its model."""
    import torch
    import transformers

    import unweave as uw

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    module = transformers.GPT2LMHeadModel(config).eval()
    return module, uw.load_model(module)


def same(one: Any, two: Any, *, to: float = 0.0) -> None:
    """Raises unless two tensors agree."""
    worst = float((one - two).abs().max())
    if worst > to:
        raise SystemExit(f"values differ by {worst}, {to} is allowed")


def _nothing(tensor: Any, **_of_hook: Any) -> Any:
    return tensor * 0


def with_lens(model: Any, ids: Any, _store: Any) -> list[str]:
    """A TransformerLens model of the same shape: its cache by our names, our edits as its hooks."""
    import torch
    import transformer_lens

    from unweave.models.exchange import lens_cache, lens_hooks, lens_values

    try:
        config_of = transformer_lens.HookedTransformerConfig
    except ImportError:  # from 4.0 on models come through a bridge from the Hub
        return ["no model of its own without the Hub: cache and hooks not tried"]
    config = config_of(n_layers=2, d_model=32, n_ctx=64, d_head=8, d_vocab=97, act_fn="gelu_new", seed=0)
    lens = transformer_lens.HookedTransformer(config).eval()
    with torch.no_grad():
        _, cache = lens.run_with_cache(ids)
        found = lens_values(cache, model)
        wanted = {str(site) for site in model.sites()} - {"logits", "final_norm", "embed"}
        missing = {name for name in wanted if name not in found.values} - {
            f"blocks.{n}.ln{m}" for n in (0, 1) for m in (1, 2)
        }
        if missing:
            raise SystemExit(f"not found in the cache: {sorted(missing)}")
        same(found.values[SITE], cache["blocks.0.hook_resid_post"])
        ours = model.capture(ids, [SITE, "blocks.1.attn_z"])
        if [tuple(value.shape) for value in lens_cache(ours).values()] != [(2, 9, 32), (2, 9, 4, 8)]:
            raise SystemExit("a capture as a cache has other shapes")
        edited = lens.run_with_hooks(ids, fwd_hooks=lens_hooks({SITE: torch.zeros_like}))
        by_hand = lens.run_with_hooks(ids, fwd_hooks=[("blocks.0.hook_resid_post", _nothing)])
    same(edited, by_hand)
    return ["cache by our names", "capture as a cache", "edit as its hooks"]


def with_nnsight(model: Any, ids: Any, _store: Any) -> list[str]:
    """A trace of the same module: values by module path, and an edit called inside it."""
    import nnsight
    import torch

    from unweave.models.edits import Edit
    from unweave.models.exchange import edit_function, module_values

    traced = nnsight.NNsight(model.module)
    with torch.no_grad(), traced.trace(ids):
        block = traced.transformer.h[0].output.save()
    block = getattr(block, "value", block)
    found = module_values({"transformer.h.0.output": block}, model)
    same(found.values[SITE], model.capture(ids, SITE)[SITE], to=1e-6)
    edit = edit_function(Edit(site="blocks.1.mlp_out", operator=torch.zeros_like))
    with torch.no_grad(), traced.trace(ids):
        traced.transformer.h[1].mlp.output = edit(traced.transformer.h[1].mlp.output)
        logits = traced.lm_head.output.save()
    with model.edit({"blocks.1.mlp_out": torch.zeros_like}), torch.no_grad():
        same(getattr(logits, "value", logits), model(ids), to=1e-5)
    return ["values by module path", "edit inside a trace"]


def with_saelens(_model: Any, _ids: Any, store: Any) -> list[str]:
    """Dictionaries written here and run there, a synthetic model there and back, a cache of activations."""
    import sae_lens
    import torch

    import unweave as uw
    from unweave.activations.dataset_rows import dataset_rows
    from unweave.features.activation import Activation
    from unweave.features.foreign import save_saelens
    from unweave.worlds.correlated import world
    from unweave.worlds.saelens_worlds import load_saelens_world, save_saelens_world

    generator = torch.Generator().manual_seed(0)
    h = store[SITE][:]
    for act in (
        Activation(kind="relu"),
        Activation(kind="top_k", k=3),
        Activation(kind="jump_relu", threshold=torch.full((48,), 0.2)),
    ):
        drawn = [torch.randn(shape, generator=generator) for shape in ((32, 48), (48, 32), (32,), (48,))]
        ours = uw.AffineFeaturizer(read=drawn[0], write=drawn[1], origin=drawn[2], bias=drawn[3], act=act, site=SITE)
        folder = save_saelens(ours, f"{tempfile.mkdtemp()}/sae")
        theirs = sae_lens.SAE.load_from_disk(str(folder), device="cpu")
        with torch.no_grad():
            same(theirs.encode(h), ours.encode(h)[0], to=1e-4)
            same(theirs(h), h - ours.encode(h)[1], to=1e-4)
    checked = ["dictionaries: relu, topk, jumprelu"]
    rows = list(dataset_rows(store, sites=[SITE]))
    try:
        from datasets import Dataset

        kept = Dataset.from_list(
            [{name: torch.as_tensor(value).tolist() for name, value in row.items()} for row in rows]
        )
        again = uw.import_rows(kept, f"{tempfile.mkdtemp()}/cache", dtype="float32")
        same(again[SITE][:], h)
        checked.append("cache of activations through datasets")
    except ImportError:
        checked.append("no datasets: cache not tried")
    from sae_lens.synthetic import SyntheticModel

    made = world("independent", d=6, n=4000, density=0.3)
    folder = save_saelens_world(made, f"{tempfile.mkdtemp()}/world")
    rates = (SyntheticModel.load_from_disk(folder).sample_with_features(20_000)[1] > 0).float().mean(0)
    same(rates, torch.as_tensor(made.x.mean(0)).float(), to=0.03)
    SyntheticModel.load_from_disk(folder).save(f"{folder}-again")
    same(torch.as_tensor(load_saelens_world(f"{folder}-again", n=10).features), torch.as_tensor(made.features), to=1e-5)
    return [*checked, "synthetic model there and back"]


def offloaded(model: Any, ids: Any) -> list[str]:
    """The same model with its weights offloaded to the processor's memory and to the disk, where accelerate came along."""
    try:
        import accelerate
    except ImportError:
        return ["no accelerate: offloading not tried"]
    import torch

    import unweave as uw
    from unweave.models.points import unembedding_matrix

    checked = []
    for kind in ("cpu", "disk"):
        module, plain = tiny()
        if kind == "cpu":
            accelerate.cpu_offload(module, execution_device="cpu")
        else:
            accelerate.disk_offload(module, Path(tempfile.mkdtemp()), execution_device="cpu")
        other = uw.load_model(module)
        with torch.no_grad():
            same(other(ids), model(ids))
        for site in (SITE, "blocks.1.mlp_act", "logits"):
            same(other.capture(ids, site)[site], model.capture(ids, site)[site])
        with other.edit({SITE: torch.zeros_like}), model.edit({SITE: torch.zeros_like}), torch.no_grad():
            same(other(ids), model(ids))
        same(unembedding_matrix(other.module, other.family), unembedding_matrix(model.module, model.family))
        if other.fingerprint != model.fingerprint:
            raise SystemExit(f"offloaded to {kind}, the model has another fingerprint")
        del plain
        checked.append(f"offloaded to {kind}")
    return checked


if __name__ == "__main__":
    main()
