"""The way out: from a question to an answer with its sources."""
