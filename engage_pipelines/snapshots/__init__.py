"""Versions of computations on disk: immutable members, and the changes between one version and the next."""
