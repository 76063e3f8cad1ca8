"""The config of a study: its typed model and its validation."""

from polyalign.study.messages import ConfigError
from polyalign.study.study import Study
from polyalign.study.validate import load, validate

__all__ = ["ConfigError", "Study", "load", "validate"]
