"""Bytes out of object storage: a client, a budget of requests, caches, and the one fetcher of a node that has all three."""
