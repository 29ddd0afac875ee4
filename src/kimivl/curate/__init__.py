"""Data construction: real material that packages bring, turned into training records on disk.

Each folder holds one kind of data (text, vqa, ocr, scene, photo, video); `nano.py` builds all that the nano recipe needs.
"""
