"""See what is found for a question, and why something is not."""

from ui.app import services
from ui.inspect import search

search.draw(services())
