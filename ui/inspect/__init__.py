"""Search and Evaluate: how well documents are found and answered."""
