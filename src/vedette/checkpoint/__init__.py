"""Files that hold weights: plain tensors and JSON, checksummed, written whole or not at all."""
