"""Keeps transformers and torch from talking of their own affairs during our calls, and puts their settings back."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from logging import ERROR, getLogger


@contextmanager
def quiet_transformers() -> Generator[None, None, None]:
    """Within it, transformers and the client of the hub show no progress bars and log only errors."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub = getLogger("huggingface_hub")
    hub_level = hub.level
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub.setLevel(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            logging.enable_progress_bar()


@cache
def load_forward_mode() -> None:
    """Loads torch's forward-mode rules, which warn of a compiler that torch itself calls deprecated. Once and before
    any use, as filters of warnings belong to the whole process and sections run in threads.
    """
    import torch
    from torch.autograd import forward_ad

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script", category=DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.ones(1), torch.ones(1))
