"""Takes a run. Needs Linux; imports nothing that explains or publishes."""
