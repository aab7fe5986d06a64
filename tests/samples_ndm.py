"""Samples of partitions, for the tests of artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unweave.features.affine import AffineFeaturizer
from unweave.ndm.checkpoints import Checkpoint
from unweave.ndm.config import NDMConfig
from unweave.ndm.descent import start_state
from unweave.ndm.estimates import Dependence
from unweave.ndm.merging import plan_merges
from unweave.ndm.result import Block, NDMResult, Outcome
from unweave.ndm.training import Entry, Progressed

NAN = float("nan")


def artifacts() -> dict[str, Any]:
    """Kind -> a sample."""
    plan = plan_merges({(0, 1): 0.5, (0, 2): -0.0, (1, 2): 0.1}, (2, 1, 1), 0.3)
    entry = Entry(
        step=3, train_loss=None, loss=NAN, lr=0.1, pool=7, event="merge", sizes=(3, 1), pairs=plan.pairs,
        scores=plan.scores, threshold=float("inf"), note="é", seconds=1.5,
    )  # fmt: skip
    dependence = Dependence(nats={(0, 1): -0.0, (0, 2): NAN}, tied=0.25, null=(0.01,), keys=9, queries=3)
    state = start_state(torch.eye(4), (2, 1, 1))
    done = Progressed(
        state=state, start="identity", start_sizes=(2, 1, 1), entries=(entry,), rounds=(plan,), before=dependence
    )
    block = Block(
        number=0, size=3, variance=1.0, variance_share=0.5, distance=0.1, relative_distance=0.1, entropy=-2.0,
        effective_dimension=2.5, duplicates=0.0, same_document=None, same_token=NAN,
    )  # fmt: skip
    config = NDMConfig.model_validate({"unit_size": 2, "merging": {"threshold": "never"}})
    return {
        "ndm_config": config,
        "ndm_outcome": Outcome.ONE_BLOCK,
        "ndm_block": block,
        "ndm_entry": entry,
        "ndm_state": state,
        "ndm_dependence": dependence,
        "ndm_progress": done,
        "ndm_checkpoint": Checkpoint(done=done, starts=(("ica", 0.5),), fit="0" * 64, seconds=1.0),
        "merge_plan": plan,
        "ndm_result": NDMResult(
            featurizer=AffineFeaturizer(read=np.eye(4), blocks=(3, 1), gauge="rotation"),
            entries=(entry,),
            blocks=(block,),
            mi=np.array([[NAN, 0.1], [0.1, NAN]]),
            mi_before=None,
            mi_null=(0.01, -0.0),
            mi_keys=9,
            tied=0.0,
            rounds=(plan,),
            start="ica groups",
            start_sizes=(2, 1, 1),
            starts=(("identity", 0.5),),
            pool=7,
            outcome=Outcome.DONE,
            config=config,
            warnings=("w",),
            seconds=2.0,
        ),
    }
