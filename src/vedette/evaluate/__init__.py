"""From predictions and true boxes to figures: COCO numbers, curves, confusion matrix, plots."""
