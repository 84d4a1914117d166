"""From understanding to people: notebooks, report and mail."""
