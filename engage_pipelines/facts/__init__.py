"""Customer data: calls taken in, kept as Parquet, and read as of one instant."""
