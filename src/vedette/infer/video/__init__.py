"""Moving pictures: files, streams, cameras and the screen as pictures with a number and a time."""
