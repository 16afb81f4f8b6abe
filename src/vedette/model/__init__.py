"""Image batch -> raw predictions: the layer table, the published releases, the network and its head."""
