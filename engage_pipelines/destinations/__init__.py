"""Where membership goes: one file per destination type, the contract in `base`, the way to find them in `catalog`."""
