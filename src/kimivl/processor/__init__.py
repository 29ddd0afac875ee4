"""Text and pictures ↔ what the model reads: ids, patches, and where every token came from. numpy only, no torch.

`messages` what a conversation is made of · `tokenizer` text ↔ ids · `bpe` learns a small vocabulary · `chat` the format and
the loss mask · `image` pictures → patches · `pictures` those of many samples · `clip` frames → interleaved parts ·
`processor` all of it behind one door.
"""
