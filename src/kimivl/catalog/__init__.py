"""Immutable versions of data sets, kept in the object store itself: registered, described, compared, copied, retired."""
