"""The kinds of artifacts that tests of representations write: kind -> where its class lives. Part of the table that
`unweave.artifact` reads; apart from it so that neither is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EVALS: Mapping[str, str] = MappingProxyType(
    {
        "ablation": "unweave.evals.ablation:Ablation",
        "class_ablation": "unweave.evals.class_ablation:ClassAblation",
        "token_rise": "unweave.evals.class_ablation:TokenRise",
        "neuron_card": "unweave.evals.neuron_card:NeuronCard",
        "weight_statistic": "unweave.evals.neuron_card:WeightStatistic",
        "activation_histogram": "unweave.evals.neuron_card:Histogram",
        "context": "unweave.evals.contexts:Context",
        "evals_verdict": "unweave.evals.findings:Verdict",
        "evals_prediction": "unweave.evals.findings:Prediction",
        "evals_finding": "unweave.evals.findings:Finding",
        "evals_dormant_path": "unweave.evals.validity:DormantPath",
        "evals_naturalness": "unweave.evals.validity:Naturalness",
        "evidence_card": "unweave.evals.card:EvidenceCard",
        "evals_spread": "unweave.evals.spread:Spread",
        "evals_curves": "unweave.evals.curves:Curves",
        "evals_trace": "unweave.evals.curves:Trace",
        "evals_persistence": "unweave.evals.persistence:Persistence",
        "evals_contender": "unweave.evals.comparing:Contender",
        "evals_contest": "unweave.evals.comparing:Contest",
        "suite_row": "unweave.evals.suites.running:SuiteRow",
        "contrast_layer": "unweave.evals.suites.contrast:LayerEffect",
        "contrast_study": "unweave.evals.suites.contrast:ContrastStudy",
        "suite_result": "unweave.evals.suites.running:SuiteResult",
        "transfer": "unweave.evals.detecting:Transfer",
        "erasure": "unweave.evals.erasure:Erasure",
        "reconstruction": "unweave.evals.reconstruction:Reconstruction",
        "sparsity": "unweave.evals.reconstruction:Sparsity",
        "unembedding": "unweave.evals.unembedding:Unembedding",
        "entropy": "unweave.evals.unembedding:Entropy",
        "layer_study": "unweave.evals.layer_study:LayerStudy",
        "layer_reading": "unweave.evals.layer_study:LayerReading",
        "read_write": "unweave.evals.reading_writing:ReadWrite",
        "steadiness": "unweave.evals.steadiness:Steadiness",
    }
)
"""Of `unweave.evals`."""
