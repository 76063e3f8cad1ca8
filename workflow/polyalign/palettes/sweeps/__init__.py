"""Tables for figures of the mathematics alone: random λ, exact fronts, rounds, a palette's path.

Each module has a function `compute(pool, palettes, …)` that makes a small table from the base
model's pool; the settings are its keywords.
λ is found on the `fit` split; what levels it gives is measured on the `test` split, unless the
module says otherwise.
"""
