"""Augmentation that keeps what a text says about a picture true."""
