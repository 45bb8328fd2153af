"""The control plane: spaces, sources, destinations, audiences, connections, mappings and requests, in SQLite or PostgreSQL."""
