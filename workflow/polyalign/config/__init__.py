"""The config of a study: its typed model, its validation, and what the rules ask it for."""

from polyalign.config.checks import figures
from polyalign.config.faults import ConfigError
from polyalign.config.model import Study
from polyalign.config.study import (
    chosen,
    columns,
    explored,
    labels,
    load,
    log_probabilities,
    maintained,
    policies,
    scorer,
    slack,
    traded,
    validate,
    weighed,
)

__all__ = [
    "ConfigError",
    "Study",
    "chosen",
    "columns",
    "explored",
    "figures",
    "labels",
    "load",
    "log_probabilities",
    "maintained",
    "policies",
    "scorer",
    "slack",
    "traded",
    "validate",
    "weighed",
]
