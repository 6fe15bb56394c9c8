"""Ask, and check the sources."""

from ui import chat
from ui.app import services

chat.draw(services())
