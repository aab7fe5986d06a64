"""Identities that every sweep must keep, whatever the data."""

import pytest

import laws_probing as laws
import unweave as uw


@pytest.mark.parametrize("law", laws.SWEEP_LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(uw.probing.sweep)
