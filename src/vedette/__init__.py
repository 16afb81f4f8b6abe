"""vedette: train, measure, run and serve YOLOv5-family object detectors."""
