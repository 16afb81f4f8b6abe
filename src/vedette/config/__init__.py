"""Frozen, validated settings, one file per stage; load, save, override, unknown keys fail."""
