"""Samples of what follows a sparse probe, for the tests of artifacts."""

from __future__ import annotations

from typing import Any

from unweave.evals.causing.ablation import Ablation
from unweave.evals.causing.class_ablation import ClassAblation, TokenRise
from unweave.evals.contexts import Context
from unweave.evals.neuron_card import Histogram, NeuronCard, WeightStatistic
from unweave.probing.classes import ClassProbe, ClassSweep
from unweave.probing.compound import Compared, Compound
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import Control
from unweave.probing.dense import DenseProbe
from unweave.probing.evidence import Evidence, EvidenceConfig, FeatureEvidence
from unweave.probing.exact import Subset
from unweave.probing.pruning import PruneStep, Pruning
from unweave.probing.reseeds import Reseed, Stability
from unweave.probing.result import ProbeSweep
from unweave.probing.search import Search, UnitScore
from unweave.probing.unions import Union
from unweave.probing.values import ValueProbe, ValueSweep
from unweave.probing.winners import Winner
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import BestOf
from unweave.worlds import planted

NAN = float("nan")


def artifacts() -> dict[str, Any]:
    """Kind -> a sample."""
    estimate = Estimate(value=-0.0, low=NAN, high=0.5, n=3, n_groups=1, control=0.25)
    control = Control(name="rotation", k=2, f1=0.5, difference=estimate, spread=NAN, draws=1)
    best = BestOf(winner=3, candidates=9, naive=0.9, corrected=0.7, low=0.6, high=0.8, draws=100)
    winner = Winner(
        feature="a", site="blocks.0.mlp_act", unit=3, honest=estimate, naive_site="embed", naive_unit=0, naive=best
    )
    score = UnitScore(
        feature="a", site="embed", unit=1, difference=-1.0, t=NAN, p_value=1e-300, q_value=0.5, p_adjusted=None
    )
    search = Search(best=(score,), searched={"a": 9}, significant={"a": 0}, level=0.05, shuffles=0)
    feature = FeatureEvidence(
        feature="a",
        winner=winner,
        auc={1: estimate, 16: estimate},
        controls=(control,),
        token_baseline=None,
        left_out={"selectivity": "no tokens"},
    )
    reseed = Reseed(k=1, f1=(0.5, 0.25), mean=0.375, sd=NAN, jaccard=1.0, frequency={7: 1.0})
    ablation = Ablation(
        name="digits", basis="neurons", units=(1,), unit="nats", effect=estimate, difference=estimate, elsewhere=None,
        draws=20,
    )  # fmt: skip
    rise = TokenRise(token=5, string=" é", rise=-0.5, places=3)
    context = Context(document=1, position=9, tokens=("a", " b"), values=(NAN, 0.5), focus=1, label=None)
    statistic = WeightStatistic(name="norm of W_in", value=1.5, percentile=99.0)
    histogram = Histogram(edges=(0.0, 0.5, 1.0), counts=(("all rows", (3, 1)),))
    compared = Compared(
        units=(3,), f1=estimate, precision=0.5, d_prime=float("inf"), above=0.25, strata={"bigram": 1.5},
        fired={"bigram": 1.0}, words=("living room",),
    )  # fmt: skip
    class_probe = ClassProbe(
        k=1, support=(3,), coef=((0.5,), (-0.0,), (NAN,)), bias=(0.0, 1.0, 2.0), mean=(0.5,), sd=(1.0,), f1=estimate,
        f1_by_class=(0.5, 1.0, NAN), accuracy=0.5, mcc=0.25, auc=NAN, converged=True, n_train=9,
    )  # fmt: skip
    value_probe = ValueProbe(
        k=2, selector="auto", support=(3, 8), coef=(0.5, -0.0), bias=1.0, mean=(0.0, 1.0), sd=(1.0, 2.0), r2=estimate,
        explained_variance=0.5, mean_abs_error=1.0, median_abs_error=0.5, max_abs_error=9.0, d2=-0.5, n_train=7,
    )  # fmt: skip
    prune_step = PruneStep(support=(3, 8), f1=estimate, removed=8, single_f1=estimate)
    sweep = ProbeSweep(probes=(), labels=(False, True), width=4, config=ProbeConfig())
    return {
        "class_ablation": ClassAblation(classes=(ablation,), percent=None, as_current=(rise,), as_next=()),
        "token_rise": rise,
        "neuron_card": NeuronCard(
            site="blocks.0.mlp_act",
            unit=3,
            feature=None,
            probe=None,
            weights=(statistic,),
            raises=(("a", 0.5),),
            lowers=(),
            histogram=histogram,
            contexts=(("top", (context,)),),
            correlated=((4, -0.5),),
            also=(score,),
        ),
        "weight_statistic": statistic,
        "activation_histogram": histogram,
        "context": context,
        "compound": Compound(word="social security", singles=(compared,), together=compared, is_superposed=True),
        "compound_compared": compared,
        "probe_control": control,
        "evidence_config": EvidenceConfig(shuffles=0, tokens=False),
        "feature_evidence": feature,
        "evidence": Evidence(
            features=(feature,), search=search, config=EvidenceConfig(), probe=ProbeConfig(), seconds=2.0
        ),
        "class_probe": class_probe,
        "class_sweep": ClassSweep(
            classes=(0, 3, 7), probes=(class_probe,), one_vs_rest={3: sweep}, width=4, config=ProbeConfig(), seconds=1.0
        ),
        "value_probe": value_probe,
        "value_sweep": ValueSweep(probes=(value_probe,), width=9, config=ProbeConfig(), seconds=1.0, warnings=("w",)),
        "dense_probe": DenseProbe(
            f1=estimate,
            auc=estimate,
            metrics={"f1": 0.5},
            lam=0.1,
            losses={0.1: 0.5, 10.0: NAN},
            units=9,
            converged=False,
        ),
        "prune_step": prune_step,
        "pruning": Pruning(steps=(prune_step, prune_step), k=2, screen=50),
        "subset": Subset(
            support=(1, 4),
            upper=2.5,
            lower=2.5,
            gap=0.0,
            proven=True,
            nodes=9,
            fits=2,
            scope="within 5 of 9 columns",
            seconds=0.5,
        ),
        "planted_world": planted("easy", 40, 300),
        "best_of": best,
        "probe_winner": winner,
        "unit_score": score,
        "unit_search": search,
        "reseed": reseed,
        "stability": Stability(ks=(reseed,), rank_correlation=None),
        "union": Union(
            units=(7,), frequency={7: 1.0}, f1=estimate, without={7: estimate}, complement=estimate, redundancy=estimate
        ),
    }
