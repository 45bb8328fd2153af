"""Facts in a person's own warehouse: the mapping onto their tables, definitions as one SELECT, and reading it without changing anything."""
