"""Suites: prompts, corruptions, positions and measures of published behaviours, for any causal language model."""
