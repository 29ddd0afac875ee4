"""Conversations and documents → ids, and for every id where it came from.

What it is: the Kimi chat format, written token by token, so that the loss mask is known while the ids are made and never
searched for afterwards; the same for documents; and `CHAT_TEMPLATE`, the same grammar as a jinja text, for the programs
that expect a `chat_template.jinja` in a model directory. A test holds the two against each other.
What it is not: an image decoder. It is told how many tokens each image has and writes that many placeholders.
Facts: `reference/model.md` §5.2 for the grammar (no BOS, no newlines, an injected system prompt); paper §2.4 for the mask:
"only answers and special tokens" are supervised, hence not the role words, and never the image placeholders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from kimivl.processor.messages import ImagePart, Message, Part, Role, TextPart
from kimivl.processor.tokenizer import Tokenizer

DEFAULT_SYSTEM = "You are a helpful assistant"

# Only values are printed, never the layout of this text, under any trim_blocks or lstrip_blocks setting.
CHAT_TEMPLATE = """\
{%- if messages and messages[0]['role'] != 'system' -%}
  {{- '<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message['role'] in ['system', 'user', 'assistant'] -%}
    {{- '<|im_' + message['role'] + '|>' -}}
  {%- endif -%}
  {{- message['role'] + '<|im_middle|>' -}}
  {%- if message['content'] is string -%}
    {{- message['content'] -}}
  {%- else -%}
    {%- for part in message['content'] -%}
      {%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
        {{- '<|media_start|>image<|media_content|><|media_pad|><|media_end|>' -}}
      {%- else -%}
        {{- part['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_assistant|>assistant<|im_middle|>' -}}
{%- endif -%}
"""


class Provenance(IntEnum):
    """Where a token came from."""

    STRUCTURE = 0  # special tokens, except the image placeholder
    ROLE = 1  # the words that belong to the format: "system", "user", "assistant", "image"
    SYSTEM = 2
    USER = 3
    ANSWER = 4
    MEDIA = 5  # image placeholders; their embeddings are replaced by image features
    DOCUMENT = 6
    GIVEN = 7  # text of an answer or a document that is read and not learned


SUPERVISED = frozenset({Provenance.STRUCTURE, Provenance.ANSWER, Provenance.DOCUMENT})

_TEXT_OF_ROLE: dict[Role, Provenance] = {
    "system": Provenance.SYSTEM,
    "user": Provenance.USER,
    "assistant": Provenance.ANSWER,
}


@dataclass
class Rendered:
    """Ids and their provenance, of equal length T."""

    ids: list[int] = field(default_factory=list)
    provenance: list[int] = field(default_factory=list)  # values of `Provenance`

    def append(self, ids: Sequence[int], provenance: Provenance) -> None:
        self.ids += ids
        self.provenance += [int(provenance)] * len(ids)


def render_chat(
    messages: Sequence[Message], tokenizer: Tokenizer, image_tokens: Sequence[int], add_generation_prompt: bool = False
) -> Rendered:
    """A conversation in the Kimi chat format.

    Args:
        messages: at least one. Without a system message in front, the official default prompt is put there.
        image_tokens: number of placeholders of each image, in order of appearance.
        add_generation_prompt: end with the header of an assistant turn, for the model to go on from.
    Errors: ValueError for no messages, or when `image_tokens` and the images do not match in number.
    """
    if not messages:
        raise ValueError("a conversation needs at least one message")
    _check_image_count([part for message in messages for part in message.parts], image_tokens)
    if messages[0].role != "system":
        messages = [Message("system", (TextPart(DEFAULT_SYSTEM),)), *messages]

    writer = _Writer(tokenizer, image_tokens)
    for message in messages:
        writer.header(message.role)
        writer.parts(message.parts, _TEXT_OF_ROLE[message.role])
        writer.structure("<|im_end|>")
    if add_generation_prompt:
        writer.header("assistant")
    return writer.rendered


def render_document(parts: Sequence[Part], tokenizer: Tokenizer, image_tokens: Sequence[int]) -> Rendered:
    """A text or an interleaved image-text document, closed by [EOS]: every token of its text is supervised.

    Errors: ValueError when `image_tokens` and the images do not match in number.
    """
    _check_image_count(parts, image_tokens)
    writer = _Writer(tokenizer, image_tokens)
    writer.parts(parts, Provenance.DOCUMENT)
    writer.structure("[EOS]")
    return writer.rendered


class _Writer:
    """Appends pieces of the format to a `Rendered`."""

    def __init__(self, tokenizer: Tokenizer, image_tokens: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.image_tokens = iter(image_tokens)
        self.rendered = Rendered()

    def header(self, role: Role) -> None:
        self.structure(f"<|im_{role}|>")
        self.text(role, Provenance.ROLE)
        self.structure("<|im_middle|>")

    def parts(self, parts: Sequence[Part], provenance: Provenance) -> None:
        for part in _joined(parts):
            if isinstance(part, ImagePart):
                self.image(next(self.image_tokens))
            else:
                given = provenance if part.learned else Provenance.GIVEN
                if part.ids is None:
                    self.text(part.text, given, part.spelled)
                else:
                    self.rendered.append(self.tokenizer.written(part.ids, part.text), given)

    def image(self, tokens: int) -> None:
        self.structure("<|media_start|>")
        self.text("image", Provenance.ROLE)
        self.structure("<|media_content|>")
        self.rendered.append([self.tokenizer.media_pad_id] * tokens, Provenance.MEDIA)
        self.structure("<|media_end|>")

    def structure(self, name: str) -> None:
        self.rendered.append([self.tokenizer.special(name)], Provenance.STRUCTURE)

    def text(self, text: str, provenance: Provenance, spelled: bool = False) -> None:
        self.rendered.append(self.tokenizer.encode(text, spelled=spelled), provenance)


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring texts as one: the official tokenizer sees the whole turn, so a token may straddle two text parts."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(last, TextPart) and _alike(part, last):
            joined[-1] = replace(last, text=last.text + part.text)
        else:
            joined.append(part)
    return joined


def _alike(part: TextPart, last: TextPart) -> bool:
    return part.ids is None and replace(part, text=last.text) == last


def _check_image_count(parts: Sequence[Part], image_tokens: Sequence[int]) -> None:
    images = sum(isinstance(part, ImagePart) for part in parts)
    if images != len(image_tokens):
        raise ValueError(f"the text has places for {images} images, but {len(image_tokens)} images were given")
    if any(tokens < 1 for tokens in image_tokens):
        raise ValueError(f"an image has at least one token, got {list(image_tokens)}")
