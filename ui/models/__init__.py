"""The Models page, and the pickers of backend and model."""
