"""One small sample of every kind of result that the causal tests write."""

from __future__ import annotations

from typing import Any

import numpy as np

from unweave.evals.card import EvidenceCard
from unweave.evals.causing.components import ComponentEffect, ComponentPatching
from unweave.evals.causing.curves import Curves, Trace
from unweave.evals.causing.forgetting import Forgetting
from unweave.evals.causing.masks import LearnedMask
from unweave.evals.causing.memory import Memory
from unweave.evals.causing.persistence import Persistence
from unweave.evals.causing.spread import Spread
from unweave.evals.causing.validity import DormantPath, Naturalness
from unweave.evals.comparing import Contender, Contest
from unweave.evals.findings import Finding, Prediction, Verdict
from unweave.evals.reading.absorption import Absorption
from unweave.evals.reading.code_length import CodeLength
from unweave.evals.reading.description import DescriptionLength
from unweave.evals.reading.interpretation import Interpretation
from unweave.evals.reading.specificity import Removal
from unweave.evals.suites.contrast import ContrastStudy, LayerEffect
from unweave.evals.suites.result import Claim, SuiteResult, SuiteRow


def artifacts(estimate: Any) -> dict[str, Any]:
    """Kind -> a sample; `estimate` makes one with what breaks naive writers."""
    prediction = Prediction(margin=0.1, direction="less")
    finding = Finding(
        test="interchange effect",
        formula="B - B",
        unit="logits",
        scope="sequence",
        effect=estimate(),
        difference=estimate(),
        values=np.array([1.0, float("nan")]),
        null=(0.0, float("inf")),
        draws=19,
        floor=None,
        ceiling=-0.0,
        prediction=prediction,
        verdict=Verdict.UNDECIDED,
        details={"doses": [0.0, 1.5], "kl": None},
        warnings=("w",),
    )
    dormant = DormantPath(
        effect=1.0, row_space=0.1, kept=float("nan"), rank=2, width=5, reader="the matrix", illusory=False
    )
    natural = Naturalness(sites=("a", "b"), nearest=(1.0, 2.0), mahalanobis=(3.0, 99.5), off_distribution=True, rows=7)
    spread = Spread(basis="pca", sizes=(1, 2), effects=(estimate(), estimate()), whole=1.0, variances=(0.5, 0.25))
    contender = Contender(
        name="n",
        method="pca",
        blocks=(1,),
        dimension=1,
        candidates=9,
        effect=finding,
        share=0.5,
        participation=1.5,
        unexplained=0.0,
        dormant=None,
        concept={"bits": estimate()},
    )
    row = SuiteRow(
        test="t",
        measure="m",
        scope="first-token",
        site="s",
        n=3,
        done=0.25,
        plain=estimate(),
        whole=None,
        spreads=(spread,),
        note="no",
    )
    claim = Claim(about="é", site="s", expected=False, finding=finding, note="n")
    component = ComponentEffect(
        name="a head 0", site="a", layer=0, part="head 0", effect=estimate(), p_bh=0.5, finding=finding, chosen=True
    )
    layer = LayerEffect(site="s", sequence=finding, first=finding, misled=True)
    return {
        "evals_verdict": Verdict.REFUTED,
        "evals_prediction": prediction,
        "evals_finding": finding,
        "evals_dormant_path": dormant,
        "evals_naturalness": natural,
        "evidence_card": EvidenceCard(
            concept="é",
            site="s",
            basis="pca",
            blocks=(0, 2),
            size=2,
            candidates=3,
            selected_on=4,
            findings=(finding,),
            dormant=dormant,
            natural=natural,
            agreement={"a / b": float("nan")},
            predictions={"t": prediction},
            verdict=Verdict.SUPPORTED,
            reason="r",
            controls={"shuffled sources": 0.5},
            kept_share=None,
            n=3,
            model="m",
            data="d",
            seed=0,
            seconds=0.5,
        ),
        "evals_spread": spread,
        "evals_curves": Curves(
            kept=(0.5, 1.0),
            faithful=(0.0, 1.0),
            complete=(0.5, 1.0),
            area=0.5,
            error_area=0.1,
            random_area=(0.4,),
            p_value=1.0,
        ),
        "evals_trace": Trace(
            sites=("a",),
            positions=(0, -1),
            screened=np.zeros((1, 2)),
            exact=np.full((1, 2), np.nan),
            agreement=0.5,
            whole=1.0,
        ),
        "absorption": Absorption(full=estimate(), fraction=estimate(), main=(3,), probe_recall=0.5),
        "component_effect": component,
        "component_patching": ComponentPatching(
            components=(component,), streams=(estimate(),), participation=1.0, places="p", selected_on=3, seed=0
        ),
        "forgetting": Forgetting(
            score=estimate(), kept=estimate(), clean=(1.0, 0.5), units=(3,), scale=-1.0, settings=12
        ),
        "description_length": DescriptionLength(
            bits=estimate(), saved=estimate(), active=1.5, error=0.1, tolerance=0.1, step=0.25
        ),
        "interpretation": Interpretation(explanation="é", detection=estimate(), fuzzing=estimate(), shown=10),
        "code_length": CodeLength(bits=estimate(), total=9.0, compression=1.5, ends=(8, 16), block_bits=(1.0, 0.1)),
        "unit_removal": Removal(test="t", score=estimate(), units=(2,), accuracies={"a": 0.5}, null=(float("nan"),)),
        "learned_mask": LearnedMask(blocks=(1,), gates=np.array([0.1, 0.9]), finding=finding, loss=0.5, n_train=7),
        "evals_memory": Memory(
            stop=2, total=estimate(), cache=estimate(), text=estimate(), curves=np.ones((3, 2)), differing=0.5
        ),
        "evals_persistence": Persistence(stop=2, curve=np.ones(4), fitted=np.ones(3), half_life=estimate(), note="n"),
        "evals_contender": contender,
        "evals_contest": Contest(
            site="s",
            behaviour="b",
            scope="sequence",
            contenders=(contender,),
            dimension=1,
            whole=1.0,
            kept_share=1.0,
            n_select=2,
            n_report=3,
            model="m",
            seed=0,
        ),
        "contrast_layer": layer,
        "contrast_study": ContrastStudy(
            layers=(layer,), best="s", schedules=({"schedule": "always", "effect": estimate()},), n=2, model="m", seed=0
        ),
        "suite_row": row,
        "suite_claim": claim,
        "suite_result": SuiteResult(
            suite="ioi", model="m", rows=(row,), seed=0, claims=(claim,), tables={"é": ({"block": 1, "x": None},)}
        ),
    }
