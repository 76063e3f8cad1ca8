"""Polyalign: align a language model to several human values, as one declarative workflow."""

__version__ = "0.1.0"
