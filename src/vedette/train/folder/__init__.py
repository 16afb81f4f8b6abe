"""The folder of a run: its files, its lock, where it comes from, what it needs on the disk."""
