"""The demo: the main job on sample data, from facts to a destination that agrees."""
