"""Optimizers that PyTorch does not have, or that are worth reading."""
