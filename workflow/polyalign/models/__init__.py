"""Models: where they are, how they are loaded, how texts are encoded for them."""
