"""The activations of the model on the text, in a store that a second run finds again."""

from __future__ import annotations

from functools import partial

from unweave.activations.collect import CollectOptions, run_collection
from unweave.errors import FingerprintError
from unweave.study.work import STORE, Found, Work, need_tokens


def collect_rows(work: Work) -> Found:
    """A store in the model's folder; one of the same inputs is kept and finished, one of others replaced."""
    need_tokens(work)
    options = CollectOptions(context=work.config.context, dtype=work.config.dtype)
    collected = partial(
        run_collection, work.model, work.text.texts, work.sites, work.folder / STORE, options, progress=work.progress
    )
    try:
        done = collected()
    except FingerprintError:  # the store of an earlier study with other sites, texts or settings
        done = collected(resume=False)
    store = done.store
    documents = sum(shard.documents for shard in store.manifest.shards)
    results = {
        "rows": len(store),
        "documents": documents,
        "sites": [str(site) for site in store.sites],
        "store": STORE,
        "fingerprint": store.fingerprint,
    }
    return Found(results=results)
