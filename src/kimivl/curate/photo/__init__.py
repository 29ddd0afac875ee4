"""Photographs that packages bring, cut into captioned crops."""
