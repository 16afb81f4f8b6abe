"""Files on disk -> samples: descriptions, label formats, pictures, packed indexes, batches."""
