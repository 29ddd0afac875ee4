"""Pure tensor functions: one signature, several back-ends, a plain reference beside each fast path.

Legend of the shape suffixes used in the whole project:
    T tokens (all segments of a batch, one after the other)   B rows, for example segments or sequences of a batch
    L places in a padded row      D hidden width              V vocabulary       H attention heads
    P patches                     N images                    E experts          K chosen experts per token
    F expert width                R latent rank               C channels of a head
"""
