"""The haystack: feature collections built from text that the user provides (specs/probing.md 2)."""
