"""Colours of figures."""

from __future__ import annotations

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555"]
"""Okabe and Ito's colours, told apart with any kind of colour vision."""
GREY = "#767676"
