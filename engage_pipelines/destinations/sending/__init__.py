"""What types send with: loaded when something is sent, not when types are looked at."""
