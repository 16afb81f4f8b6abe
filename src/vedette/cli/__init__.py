"""Arguments -> configuration -> one call. Flags are generated from the configuration classes."""
