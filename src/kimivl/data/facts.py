"""Made-up facts, "The code of Lima is opal maple otter.", that only the context can tell.

What it is: the form of such facts, and which of them training may use; curation writes documents with them, evaluation hides
held-out ones in a haystack.
Why three words out of three lists: each place of a code can be looked up by its kind, so that a small model that looks back at
all can name it, and a guess is right once in 4,096 times. None of the words is usual in technical prose.
"""

import hashlib
import itertools

GEMS = "opal topaz garnet amber jade onyx pearl coral quartz beryl agate jasper zircon ruby lapis ivory".split()
TREES = "maple cedar willow birch walnut laurel olive poplar spruce hazel linden acacia juniper aspen rowan alder".split()
ANIMALS = "otter falcon badger heron lynx bison cobra lemur raven camel moose walrus gecko puffin ferret jackal".split()
VALUES = tuple(" ".join(words) for words in itertools.product(GEMS, TREES, ANIMALS))
HELD_OUT_SHARE = 0.15


def statement(name: str, value: str) -> str:
    """The whole fact."""
    return f"{opening(name)} {value}."


def opening(name: str) -> str:
    """The fact up to where the value begins: what a document breaks off with to ask for it."""
    return f"The code of {name} is"


def question(name: str) -> str:
    """The question in a conversation."""
    return f"What is the code of {name}?"


def is_held_out(value: str) -> bool:
    """Whether a value is kept for evaluation: decided by its hash."""
    digest = hashlib.blake2b(f"recall values/{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64
