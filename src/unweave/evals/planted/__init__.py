"""Worlds whose causal variables are known, and the error rates of every test on them."""
