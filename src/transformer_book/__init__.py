"""The Transformer, Measured: the tested package behind the book."""
