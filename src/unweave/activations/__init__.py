"""Activations on disk: collecting them, reading them back, and the labels of their rows."""
