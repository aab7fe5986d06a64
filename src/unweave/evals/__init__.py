"""Tests of what a representation does: interventions with controls and intervals."""

from unweave.evals.ablation import Ablation as Ablation
from unweave.evals.ablation import ablate as ablate
from unweave.evals.ablation import unit_means as unit_means
from unweave.evals.behaviours import Behaviour as Behaviour
from unweave.evals.behaviours import answered as answered
from unweave.evals.behaviours import continuation as continuation
from unweave.evals.behaviours import logit_difference as logit_difference
from unweave.evals.behaviours import probability as probability
from unweave.evals.class_ablation import ClassAblation as ClassAblation
from unweave.evals.class_ablation import ablate_by_class as ablate_by_class
from unweave.evals.contexts import Context as Context
from unweave.evals.contexts import contexts as contexts
from unweave.evals.decodability import decodability as decodability
from unweave.evals.effects import Effects as Effects
from unweave.evals.effects import PlainRun as PlainRun
from unweave.evals.effects import effects_of as effects_of
from unweave.evals.effects import plain_run as plain_run
from unweave.evals.interchange import interchange as interchange
from unweave.evals.interchange import interchange_blocks as interchange_blocks
from unweave.evals.neuron_card import NeuronCard as NeuronCard
from unweave.evals.neuron_card import neuron_card as neuron_card
from unweave.evals.patching import Patching as Patching
from unweave.evals.patching import patching as patching
from unweave.evals.patching import scores as scores
from unweave.tensors.concentration import gini as gini
