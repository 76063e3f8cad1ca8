"""The mathematics of MAP: NumPy only at import; SciPy where a linear programme is solved."""

from polyalign.map.dual import Solution, policy_weights, solve
from polyalign.map.palette import check_level, parse_target

__all__ = ["Solution", "check_level", "parse_target", "policy_weights", "solve"]
