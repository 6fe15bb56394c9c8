"""Measure how well documents are found and answered, and compare two ways to do it."""

from ui import evaluate
from ui.app import services

evaluate.draw(services())
