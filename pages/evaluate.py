"""Measure how well documents are found and answered, and compare two ways to do it."""

from ui.app import services
from ui.inspect import evaluate

evaluate.draw(services())
