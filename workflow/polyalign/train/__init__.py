"""Training: language models, reward models, and the policies that aim at p_λ."""
