"""How fast: every number is a ratio of two ways to do the same, taken in turns within one run."""
