"""The model: MoonViT, projector and decoder, stage 1's companions, and the folders that hold their weights.

`kimi_vl` the whole · `moonvit`, `projector`, `moonlight`, `moe` its parts · `coca`, `siglip` what only stage 1 needs ·
`layers` what they share · `initialise` first weights · `imports` published weights · `layout`, `atomic` files.
"""
