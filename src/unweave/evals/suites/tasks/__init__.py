"""Small models that do the task of a suite by a known mechanism."""
