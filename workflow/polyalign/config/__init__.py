"""The config of a study: its typed model, its validation, and what the rules ask it for."""

from polyalign.config.faults import ConfigError
from polyalign.config.model import Study
from polyalign.config.study import columns, labels, load, policies, scorer, validate

__all__ = [
    "ConfigError",
    "Study",
    "columns",
    "labels",
    "load",
    "policies",
    "scorer",
    "validate",
]
