"""The bench: zclab's sender against liburing's own example, pair by pair."""
