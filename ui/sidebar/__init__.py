"""The sidebar: conversations, model, collections and settings."""
