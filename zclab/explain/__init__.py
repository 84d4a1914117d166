"""From data to understanding. Pure Python: never imports the measuring half."""
