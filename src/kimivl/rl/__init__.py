"""Reinforcement learning as the paper has it (§2.4): online policy mirror descent on verifiable answers.

Legend of this room: N prompts, K responses to each, R = N·K responses, T tokens of all of them in a row.
"""
