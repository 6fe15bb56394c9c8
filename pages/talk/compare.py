"""Ask two models the same question, side by side."""

from ui import compare
from ui.app import services

compare.draw(services())
