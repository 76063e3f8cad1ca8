"""Evaluation of policies: levels, win rates, families of policies, and the study's summary."""
