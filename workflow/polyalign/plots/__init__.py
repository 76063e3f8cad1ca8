"""Figures: one module each, with `NEEDS` (the tables it reads), `draw` and `finding`.

A module's docstring is its figure's caption in the report; `finding(data)` adds in one or two
sentences what was measured. The workflow asks a module for `NEEDS`
before any job runs, so its top level imports neither matplotlib nor pandas.
"""
