"""One run on several processes, on one machine or many."""
