"""Polyalign: align a language model to several human values, as one declarative workflow."""
