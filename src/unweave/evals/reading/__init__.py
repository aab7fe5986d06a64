"""Tests of what can be read from a representation: nothing is changed in the model."""
