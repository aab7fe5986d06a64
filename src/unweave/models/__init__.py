"""Models: loading, the sites of each family, capture, edits, sections, generation and the bundled zoo."""
