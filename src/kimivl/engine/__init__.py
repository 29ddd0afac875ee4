"""Inference: answers to encoded prompts.

`engine` many prompts at once, or one as a stream · `sampler` logits → tokens · `cache` what is kept of the past ·
`features` what is kept of pictures · `conversation` a chat's history · `terminal` its screen · `folders` where models lie.
"""
