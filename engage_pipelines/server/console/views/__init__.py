"""What each noun of the console shows and does."""
