"""What a run starts from: architecture, anchors, weights, frozen layers, batch size."""
