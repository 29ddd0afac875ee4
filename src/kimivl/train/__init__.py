"""Training: a recipe's stages in order, each resumable at every step.

`run` the stages · `build` a stage's model at its start · `trainer` the loop · `checkpoint` what survives a kill ·
`metrics` what is written down · `vocabulary` the tokenizer of a run · `stages/` losses, and what trains.
"""
