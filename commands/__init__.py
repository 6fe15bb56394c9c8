"""The commands of the shell, over the same services as the pages."""
