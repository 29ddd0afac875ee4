"""Rendered scenes whose truth (names, places, counts) is exact."""
