"""The figures: one module each (see polyalign.plots)."""
