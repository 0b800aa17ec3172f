"""Keep documents and cards in layers, cut into passages that answers cite."""
