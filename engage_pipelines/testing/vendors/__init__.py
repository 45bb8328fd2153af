"""Fake vendors, one file per destination type, named after it: each behaves as the vendor's documents say."""
