"""What a run shows: pictures, plots, the report, and what trackers get."""
