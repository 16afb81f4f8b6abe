"""Object tracking: which detections of successive frames are one object."""
