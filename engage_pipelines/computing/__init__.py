"""From facts to versions: evaluates computations in one shared scan and publishes what changed."""
