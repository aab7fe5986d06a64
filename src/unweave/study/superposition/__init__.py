"""The superposition lab as a run: models on a text or on known worlds, their tables and report."""
