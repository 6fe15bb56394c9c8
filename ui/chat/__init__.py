"""The chat page and what it shows of answers."""
