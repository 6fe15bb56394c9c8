"""The Backends page, and the pickers of backend and model."""
