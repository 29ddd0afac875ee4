"""kimivl: an open, complete implementation of the Kimi-VL system."""

__version__ = "0.1.0"
