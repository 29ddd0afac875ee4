"""The page of `kimivl data view`: training data as the trainer sees them."""
