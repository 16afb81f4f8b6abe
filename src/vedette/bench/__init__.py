"""How fast a detector is here, on every runtime that is installed; and which of them ``vedette detect`` should use."""
