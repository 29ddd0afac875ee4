"""Tables of what lies in a store: which originals there are, and which samples are made of them."""
