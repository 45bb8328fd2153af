"""The API: Segment Public API shapes for what Segment has, our own paths under `/x/` for what it lacks."""
