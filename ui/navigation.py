"""Paths of the pages, relative to the main script."""

CHAT = "../pages/chat.py"
DOCUMENTS = "../pages/documents.py"
SEARCH = "../pages/search.py"
COMPARE = "../pages/compare.py"
EVALUATE = "../pages/evaluate.py"
MODELS = "../pages/models.py"
