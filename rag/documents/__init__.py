"""The way in: from a file to chunks in the index."""
