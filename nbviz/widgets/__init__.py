"""Anywidget classes: analysis results in, traits and messages out. They hold no maths."""
