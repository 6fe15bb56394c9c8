"""Add, watch and remove documents."""

from ui.app import services
from ui.documents import page

page.draw(services())
