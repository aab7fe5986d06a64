"""What `unweave compare` and `unweave evaluate run` take as a decomposition: every artifact that has one, the files of
other libraries, and one line for those that have none.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import samples_interaction
import samples_ndm
import unweave as uw
from unweave.cli.featurizers import featurizer_at
from unweave.errors import UnweaveError
from unweave.features.activation import Activation
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.foreign import save_gguf, save_saelens

D, SITE, OTHER = 4, "blocks.1.resid_post", "blocks.2.resid_post"
ROWS = torch.from_numpy(np.random.default_rng(0).normal(size=(30, D)))
PARTITION = replace(random_rotation(D, seed=1), blocks=(3, 1))
DICTIONARY = uw.AffineFeaturizer(
    read=PARTITION.read.repeat(1, 2), write=PARTITION.write.repeat(2, 1), act=Activation(kind="top_k", k=3)
)
VECTORS = {name: uw.Direction(vector=np.eye(D)[turn], site=name) for turn, name in enumerate((SITE, OTHER))}


def saved(value):
    return lambda path: uw.save(value, path)


def foreign(name):
    """A dictionary as another library writes it; `sparsify` has the encoder transposed and no site."""
    if name == "saelens":
        return lambda path: save_saelens(replace(DICTIONARY, site=SITE), path)

    def write(path):
        path.mkdir()
        tensors = {"encoder.weight": DICTIONARY.read.T, "encoder.bias": torch.zeros(2 * D), "W_dec": DICTIONARY.write}
        save_file(
            {key: one.contiguous() for key, one in (tensors | {"b_dec": torch.zeros(D)}).items()},
            path / "sae.safetensors",
        )
        (path / "cfg.json").write_text(json.dumps({"d_in": D, "expansion_factor": 2, "k": 3}))
        return path

    return write


LIB = replace(
    samples_interaction.artifacts()["interaction_result"],
    layers=(SITE, OTHER),
    bases={SITE: random_rotation(D, seed=2), OTHER: neurons(D)},
)
KINDS = {
    "featurizer": (saved(PARTITION), PARTITION),
    "neurons": (saved(neurons(D)), neurons(D)),
    "pca at its site": (saved(pca(ROWS, site=SITE)), pca(ROWS)),
    "ndm partition": (saved(replace(samples_ndm.artifacts()["ndm_result"], featurizer=PARTITION)), PARTITION),
    "lib bases": (saved(LIB), random_rotation(D, seed=2)),
    "bundle": (saved(uw.Bundle(parts={SITE: PARTITION, OTHER: neurons(D)})), PARTITION),
    "direction": (saved(uw.Direction(vector=np.eye(D)[0])), uw.AffineFeaturizer(read=np.eye(D)[:, :1])),
    "directions": (saved(uw.Bundle(parts=VECTORS)), uw.AffineFeaturizer(read=np.eye(D)[:, :1])),
    "saelens": (foreign("saelens"), DICTIONARY),
    "sparsify": (foreign("sparsify"), DICTIONARY),
    "gguf": (lambda path: save_gguf(uw.Bundle(parts=VECTORS), path.with_suffix(".gguf")),
             uw.AffineFeaturizer(read=np.eye(D)[:, :1])),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_everything_that_holds_a_decomposition_gives_it(kind, tmp_path):
    write, truth = KINDS[kind]
    path = Path(write(tmp_path / "x"))
    for spelling in (SITE, "blocks.1.hook_resid_post"):
        found = featurizer_at(path, spelling)
        assert found.site == SITE
        assert found.blocks == truth.blocks
        torch.testing.assert_close(found.encode(ROWS)[0], truth.encode(ROWS)[0], rtol=0, atol=1e-6)  # float32 files
        torch.testing.assert_close(found.decode(*found.encode(ROWS)), ROWS)


READOUT = uw.Readout(covector=np.eye(D)[0], site=SITE)
ERASER = uw.Eraser(read=np.eye(D)[:, :1], write=np.eye(D)[:1], site=SITE)
WRONG = {
    "an estimate": (saved(uw.evals.mean_estimate([1.0, 2.0])), SITE, "holds a Estimate: a featurizer, partition"),
    "a read-out": (saved(READOUT), SITE, "a read-out is a covector and cannot be written"),
    "an eraser": (saved(ERASER), SITE, "an eraser has no units"),
    "read-outs of a bundle": (saved(uw.Bundle(parts={SITE: READOUT})), None, "a read-out is a covector"),
    "no site": (saved(PARTITION), None, "names no site: give --site"),
    "several sites": (saved(uw.Bundle(parts=VECTORS)), None, "has 2 sites: give --site, one of"),
    "another site": (saved(uw.Bundle(parts=VECTORS)), "blocks.3.resid_post", "nearest: 'blocks.1.resid_post'"),
    "elsewhere": (saved(pca(ROWS, site=OTHER)), SITE, f"is of {OTHER}, the comparison at {SITE}: fit it there"),
    "sparsify without a site": (foreign("sparsify"), None, "names no site: give --site"),
    "nothing": (lambda path: path, SITE, "no artifact at"),
    "an empty folder": (lambda path: path.mkdir() or path, SITE, "no artifact at"),
    "no gguf": (lambda path: path.with_suffix(".gguf"), SITE, "there is no file at|no file|No such"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_holds_none_is_told(kind, tmp_path):
    write, site, message = WRONG[kind]
    with pytest.raises(UnweaveError) as caught:
        featurizer_at(Path(write(tmp_path / "x")), site)
    assert re.search(message, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
