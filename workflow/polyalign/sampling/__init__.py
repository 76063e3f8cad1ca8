"""Responses: sampled, guided, or selected among candidates."""
