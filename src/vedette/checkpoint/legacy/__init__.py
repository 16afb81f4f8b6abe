"""Reads checkpoints of the YOLOv5 releases v1.0 to v7.0 as data: nothing in a file is imported, called or resolved."""
