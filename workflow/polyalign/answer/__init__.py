"""Answers to a prompt by the base model, a policy or a palette of a study, and a server of them."""
