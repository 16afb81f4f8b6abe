"""Hyperparameter search over whole training runs."""
