"""Immutable versions of data sets in the object store itself: registered, described, compared, copied, retired; and a page to
look at samples."""
