"""A checkpoint as a file of another runtime, with everything in it, and the proof that it finds the same boxes."""
