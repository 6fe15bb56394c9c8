"""Ask two models the same question, side by side."""

from ui.app import services
from ui.chat import compare

compare.draw(services())
