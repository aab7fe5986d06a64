"""Identities that every sweep must keep, whatever the data and the selector."""

import functools

import pytest

import laws_probing as laws
import unweave as uw


@pytest.mark.parametrize("selector", ["std_mean_diff", "auto", "telescope"])
@pytest.mark.parametrize("law", laws.SWEEP_LAWS, ids=lambda law: law.__name__)
def test_law(law, selector):
    if selector == "auto" and law is laws.flipping_labels_negates_scores:
        return  # it aims at F1, which is not symmetric
    law(functools.partial(uw.probing.sweep, selector=selector, coordinates=1))
