"""The haystack as a run: ready-made features of a text probed on models, and its report."""
