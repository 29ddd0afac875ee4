"""`kimivl chat`."""

import argparse
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kimivl.cli.command import add_command


def add_chat(commands: Any) -> None:
    parser = add_command(
        commands, "chat", _chat,
        "talk to a model about text, pictures and clips; with a PROMPT, one answer",
        '  kimivl chat --image x.png "What shape is in the image?"\n  kimivl chat runs/nano --clip dance.gif "What moves?"\n'
        "  kimivl chat            a conversation; inside it /image PATH, /clip PATH, /reset, /quit; Ctrl-C stops an answer",
    )  # fmt: skip
    parser.add_argument(
        "words", nargs="*", metavar="MODEL PROMPT",
        help="MODEL: a model directory or the folder of a run (default: the newest finished run). One word alone is the MODEL "
        "if it is a path, else the PROMPT",
    )  # fmt: skip
    parser.add_argument("--image", type=Path, action="append", default=[], metavar="PATH", help="a picture; can be repeated")
    parser.add_argument("--clip", type=Path, action="append", default=[], metavar="PATH", help="an animated GIF, WebP or PNG")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest words, 1 draws freely (default: 0)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw only from the likeliest (default: 1)")
    parser.add_argument("--seed", type=int, help="of the draws (default: another one each time)")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="the longest answer (default: 256)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the answer and its costs; needs a PROMPT")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are looked for (default: runs)")


def _chat(args: argparse.Namespace) -> int:
    model, prompt = _model_and_prompt(args.words)
    if args.json and prompt is None:
        print("kimivl chat: --json needs a PROMPT", file=sys.stderr)
        return 2

    from kimivl.engine.conversation import Conversation
    from kimivl.engine.engine import Engine
    from kimivl.engine.folders import find_model
    from kimivl.engine.sampler import Sampling
    from kimivl.engine.terminal import clip, picture, show, talk

    folder = find_model(model, args.runs)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    sampling = Sampling(args.max_new_tokens, args.temperature, args.top_p, seed)
    pictures, clips = [picture(path) for path in args.image], [clip(path) for path in args.clip]  # a bad file shows at once
    conversation = Conversation(Engine.from_pretrained(folder), sampling)
    for parts in pictures:
        conversation.attach(parts)
    for parts in clips:
        conversation.attach_clip(parts)
    if prompt is None:
        talk(conversation, str(folder))
    elif args.json:
        print(json.dumps({"model": str(folder), "seed": seed} | conversation.answer(prompt), ensure_ascii=False))
    else:
        show(conversation.ask(prompt))
    return 0


def _model_and_prompt(words: Sequence[str]) -> tuple[Path | None, str | None]:
    if len(words) > 2:
        raise ValueError(f"chat takes a MODEL and a PROMPT, got {len(words)} words: put the prompt in quotation marks")
    if len(words) == 2:
        return Path(words[0]), words[1]
    if not words:
        return None, None
    is_path = os.path.isdir(words[0]) or (os.sep in words[0] and not any(letter.isspace() for letter in words[0]))
    return (Path(words[0]), None) if is_path else (None, words[0])
