"""A conversation at the terminal: the loop behind `kimivl chat`.

What it is: reading lines and commands, printing answers as they come. Ctrl-C stops an answer and nothing else; an error ends
the turn and never the conversation.
What it is not: the conversation itself (`conversation.py`).
"""

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from kimivl.engine.conversation import Conversation
from kimivl.processor.clip import clip_parts_from_file
from kimivl.processor.image import load_rgb
from kimivl.processor.messages import ImagePart, Part

CLIP_FRAMES = 16  # more frames are thinned out evenly
COMMANDS = "/image PATH, /clip PATH, /reset, /quit"
UNPRINTABLE = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


def picture(path: Path) -> list[Part]:
    """A picture as parts of a question, decoded at once so that a bad file shows before it is asked. Raises: ImageError."""
    return [ImagePart(load_rgb(path))]


def clip(path: Path) -> list[Part]:
    """The frames of an animated file with their times. Raises: ImageError."""
    return list(clip_parts_from_file(path, CLIP_FRAMES))


def show(pieces: Iterable[str]) -> None:
    """Prints an answer as it comes. Control characters could steer the terminal, so they are not passed on."""
    for piece in pieces:
        print(piece.translate(UNPRINTABLE), end="", flush=True)
    print(flush=True)


def talk(conversation: Conversation, title: str) -> None:
    """Asks what is typed, until /quit or the end of the input. Without a terminal each line of the input is a question."""
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print(f"{title}\n{COMMANDS}; Ctrl-C stops an answer", flush=True)
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() arrow keys and a history)
    while (line := _line("> " if at_terminal else "")) is not None:
        try:
            attached = len(conversation.attached)
            _turn(conversation, line)
        except KeyboardInterrupt:
            print(" [stopped]", flush=True)
        except (ValueError, OSError, FloatingPointError) as error:
            dropped = "; what was attached is dropped" if len(conversation.attached) < attached else ""
            print(f"error: {error}{dropped}", file=sys.stderr, flush=True)


def _line(prompt: str) -> str | None:
    """What is typed next; None if it is the wish to leave."""
    while True:
        try:
            line = input(prompt).strip()
            return None if line == "/quit" else line
        except EOFError:
            return None
        except KeyboardInterrupt:  # one keystroke too late to stop an answer must not end the conversation
            print("\n/quit or Ctrl-D leaves", flush=True)


def _turn(conversation: Conversation, line: str) -> None:
    command, _, rest = line.partition(" ")
    if command == "/reset":
        conversation.reset()
    elif command in ("/image", "/clip"):
        path = Path(rest.strip()).expanduser()
        if command == "/image":
            conversation.attach(picture(path))
        else:
            conversation.attach_clip(clip(path))
        print(f"{path} goes with the next question", flush=True)
    elif command.startswith("/") and command[1:].isalpha():
        raise ValueError(f"there is no command {command}; the commands are {COMMANDS}")
    elif line:
        show(conversation.ask(line))
