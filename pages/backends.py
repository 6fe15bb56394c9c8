"""See which backends answer; load, unload and pull their models."""

from ui.app import services
from ui.models import page

page.draw(services())
