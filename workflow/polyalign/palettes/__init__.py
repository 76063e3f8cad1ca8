"""From a table of rewards to λ, its diagnostics, and sweeps over λ."""
