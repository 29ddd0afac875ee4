"""From files on disk to packed batches, in one deterministic order."""
