"""Add, watch and remove documents."""

from ui import documents
from ui.app import services

documents.draw(services())
