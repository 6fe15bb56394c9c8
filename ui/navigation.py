"""Where the pages are, relative to the main script: for the navigation and for links."""

CHAT = "../pages/chat.py"
DOCUMENTS = "../pages/documents.py"
SEARCH = "../pages/search.py"
COMPARE = "../pages/compare.py"
EVALUATE = "../pages/evaluate.py"
BACKENDS = "../pages/backends.py"
