"""What figures show of the mathematics alone: random λ, exact fronts, rounds, a palette's path.

One module each, with `compute(pool, palettes, settings)`: a small table from the base model's pool.
λ is found on the `fit` split; what levels it gives is measured on the `test` split, unless the
module says otherwise.
"""
