"""Kinds of reward: one module each, with `Spec` and `Scorer` (see polyalign.rewards)."""
