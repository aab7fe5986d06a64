"""Tests of what a representation causes: something is changed in a forward pass, and the output is looked at."""
