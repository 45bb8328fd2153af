"""From what a connection owes to what its destination acknowledged: plan, render, send, settle."""
