"""The rules of the product, pure: no input or output, no clock, no randomness, no environment."""
