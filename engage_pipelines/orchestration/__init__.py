"""Dagster: the assets, the runs and the one sensor that launches what the registry says is owed."""
