"""Our own engine behind OpenAI's protocol with vLLM's extensions, on loopback, and the faults that such servers have.

What it is: a server for tests of the client: completions from token ids and pictures, chats, log-probabilities, a reload of
weights from a folder, caches that outlive it unless they are reset. What it is not: fast, safe, or for anyone else.
"""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from kimivl.engine.engine import Engine, Request
from kimivl.engine.features import FeatureCache
from kimivl.engine.sampler import Sampling
from kimivl.model.layout import load_weights
from kimivl.processor.chat import Provenance
from kimivl.processor.messages import ImagePart, Message, TextPart
from kimivl.processor.processor import Encoded


class Served(ThreadingHTTPServer):
    """A context manager that serves an engine until it is left.

    Args:
        faults: what is done wrong, any of "no_ids", "id_tokens" (ids only as texts of tokens), "no_logprobs", "no_usage",
            "drops_end", "goes_on", "keeps_weights", "keeps_features", "ignores_pictures", "other_prompt", "special_token".
        fails: how many of the first requests are answered with 503.
    """

    daemon_threads = True

    def __init__(self, engine: Engine, faults: set[str] = frozenset(), fails: int = 0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine, self.faults, self.fails = engine, set(faults), fails
        self.lock = threading.Lock()  # one engine, many connections
        self.paths: list[str] = []
        self.bodies: list[dict] = []
        self.at_once = self.most_at_once = 0

    def address(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def __enter__(self) -> "Served":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def reply(self, path: str, body: dict) -> dict | None:
        """What is sent back; None for an address that is not there."""
        if path == "/v1/completions":
            return self.completion(self.prompt(body), body, completion_logprobs)
        if path == "/v1/chat/completions":
            prompt = self.engine.processor.encode_chat(messages(body), add_generation_prompt=True)
            return self.completion(prompt, body, chat_logprobs)
        if path == "/collective_rpc":
            if "keeps_weights" not in self.faults:
                load_weights(self.engine.model, Path(body["kwargs"]["weights_path"]))
            return {}
        if path == "/reset_encoder_cache":
            if "keeps_features" not in self.faults:
                self.engine.images = FeatureCache(self.engine.model)
            return {}
        return {} if path == "/reset_prefix_cache" else None

    def prompt(self, body: dict) -> Encoded:
        """Token ids with one placeholder for each picture → what the model reads."""
        processor, pad = self.engine.processor, self.engine.processor.tokenizer.media_pad_id
        urls = [] if "ignores_pictures" in self.faults else body.get("multi_modal_data", {}).get("image", [])
        pictures = [processor.image_processor(picture(url)) for url in urls]
        counts = iter([processor.image_processor.tokens(grid) for _, grid in pictures])
        ids = np.array([id for one in body["prompt"] for id in [one] * (next(counts, 1) if one == pad else 1)], np.int64)
        size = processor.image_processor.patch_size
        return Encoded(
            ids, np.zeros(len(ids), bool), np.where(ids == pad, Provenance.MEDIA, Provenance.STRUCTURE).astype(np.uint8),
            np.concatenate([patches for patches, _ in pictures] or [np.zeros((0, 3, size, size), np.float32)]),
            np.array([grid for _, grid in pictures], np.int64).reshape(-1, 2),
        )  # fmt: skip

    def completion(self, prompt: Encoded, body: dict, logprobs) -> dict:
        count, seen = len(prompt.ids), prompt.ids.tolist()
        if "ignores_pictures" in self.faults and not len(prompt.grids):  # the placeholder is read as a word
            prompt.ids[prompt.ids == self.engine.processor.tokenizer.media_pad_id] = 0
        if "other_prompt" in self.faults:
            seen[3] += 1
        sampling = Sampling(body["max_tokens"], body["temperature"], body["top_p"], body["seed"])
        with self.lock:
            (answer,) = self.engine.respond([Request(prompt, "served")], sampling)
        ids, logps = list(answer.ids), list(answer.logps)
        if "drops_end" in self.faults and answer.finish_reason == "stop":
            ids, logps = ids[:-1], logps[:-1]
        if "goes_on" in self.faults:
            ids, logps = [sorted(self.engine.stop_ids)[0], *ids[1:], ids[0]][: len(ids)], logps
        if "special_token" in self.faults:
            ids[0] = self.engine.processor.tokenizer.media_pad_id
        text = self.engine.processor.tokenizer.decode(ids)
        choice = {
            "index": 0,
            "text": text,
            "message": {"role": "assistant", "content": text},
            "finish_reason": answer.finish_reason,
        }
        as_ids = body.get("return_tokens_as_token_ids") and "no_ids" not in self.faults
        names = [f"token_id:{id}" if as_ids else self.engine.processor.tokenizer.decode([id]) for id in ids]
        choice["logprobs"] = None if "no_logprobs" in self.faults else logprobs(names, logps)
        if body.get("return_token_ids") and not self.faults & {"no_ids", "id_tokens"}:
            choice |= {"token_ids": ids, "prompt_token_ids": seen}
        reply = {"id": "x", "object": "completion", "choices": [choice]}
        return reply if "no_usage" in self.faults else reply | {"usage": {"prompt_tokens": count, "completion_tokens": len(ids)}}


class Handler(BaseHTTPRequestHandler):
    server: Served
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802, the base class's name
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        with server.lock:
            server.paths.append(self.path)
            server.bodies.append(body)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            server.fails -= 1
            busy = server.fails >= 0
        reply = None if busy else server.reply(self.path, body)
        with server.lock:
            server.at_once -= 1
        self.send(503 if busy else 404 if reply is None else 200, reply)

    def send(self, status: int, reply: dict | None) -> None:
        """vLLM's resets send nothing at all; so do these."""
        content = json.dumps(reply).encode() if reply else b"" if status == 200 else b'{"error": "no"}'
        self.send_response(status)
        if content:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def picture(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def messages(body: dict) -> list[Message]:
    parts = {"text": lambda part: TextPart(part["text"]), "image_url": lambda part: ImagePart(picture(part["image_url"]["url"]))}
    return [Message(m["role"], tuple(parts[part["type"]](part) for part in m["content"])) for m in body["messages"]]


def completion_logprobs(names: list[str], logps: list[float]) -> dict:
    return {"tokens": names, "token_logprobs": logps}


def chat_logprobs(names: list[str], logps: list[float]) -> dict:
    return {"content": [{"token": name, "logprob": logp, "top_logprobs": []} for name, logp in zip(names, logps)]}
