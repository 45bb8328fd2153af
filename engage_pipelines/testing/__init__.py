"""For people who write or run destinations: a local receiver, a server that fails on purpose, the conformance suite."""
