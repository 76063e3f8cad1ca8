"""The mathematics of MAP: NumPy only at import; SciPy where a linear programme is solved."""
