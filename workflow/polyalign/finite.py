"""Which numbers can be rewards."""

import numpy as np

LARGEST = 1e100  # size of a reward; squares of larger ones may overflow


def usable(numbers: np.ndarray) -> np.ndarray:
    """Whether each number can be a reward: it is finite, and its square is as well."""
    return np.abs(numbers) <= LARGEST
