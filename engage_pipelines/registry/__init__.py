"""The control plane: what people configured, what is owed, and what was acknowledged, in SQLAlchemy Core."""
