"""kimivl: an open implementation of the Kimi-VL system."""

__version__ = "0.1.0"
