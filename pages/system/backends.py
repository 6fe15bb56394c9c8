"""See which backends answer; load, unload and pull their models."""

from ui import backends
from ui.app import services

backends.draw(services())
