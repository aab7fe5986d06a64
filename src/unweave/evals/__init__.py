"""Tests of what a representation does: interventions with controls and intervals."""

from unweave.evals.ablation import Ablation as Ablation
from unweave.evals.ablation import ablate as ablate
from unweave.evals.ablation import unit_means as unit_means
from unweave.evals.class_ablation import ClassAblation as ClassAblation
from unweave.evals.class_ablation import ablate_by_class as ablate_by_class
from unweave.evals.contexts import Context as Context
from unweave.evals.contexts import contexts as contexts
from unweave.evals.decodability import decodability as decodability
from unweave.evals.effects import Effects as Effects
from unweave.evals.effects import PlainRun as PlainRun
from unweave.evals.effects import effects_of as effects_of
from unweave.evals.effects import plain_run as plain_run
from unweave.evals.neuron_card import NeuronCard as NeuronCard
from unweave.evals.neuron_card import neuron_card as neuron_card
