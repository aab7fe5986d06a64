"""Labels as probes take them: those of all methods (`unweave.tensors.labels`)."""

from __future__ import annotations

from unweave.tensors.labels import binary_labels as binary_labels
from unweave.tensors.labels import several_classes as several_classes
