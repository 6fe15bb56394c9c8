"""See what is found for a question, and why something is not."""

from ui import search
from ui.app import services

search.draw(services())
