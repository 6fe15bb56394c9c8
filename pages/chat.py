"""Ask, and check the sources."""

from ui.app import services
from ui.chat import page

page.draw(services())
