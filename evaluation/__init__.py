"""How well documents are found and answered, measured with questions whose answers are known."""
