"""From pictures to detections: sources, the predictor and its backends, drawing and writing."""
