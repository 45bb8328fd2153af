"""Plans of configuration: what applying it would change, who would enter and leave, what would be sent; and whether that still holds."""
