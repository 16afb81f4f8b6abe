"""The vocabulary: pure functions and small value types. No I/O, no configuration, nothing global."""
