"""Add servers of models, see which answer, and load, unload and pull models."""

from ui.app import services
from ui.models import page

page.draw(services())
