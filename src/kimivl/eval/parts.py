"""Measurements that are made once: each leaves a JSON file, and is made again only if what it was made from has changed.

What it is: `Parts`, the folder of finished measurements of a run, and `fingerprint`, which tells whether files changed.
What it is not: the measuring itself. A killed evaluation goes on with the first part that has no file.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kimivl.model.atomic import write_atomic

Result = dict[str, Any]


class Parts:
    """The finished parts in `folder`, one file `<name>.json` each, with the inputs that it was measured from."""

    def __init__(self, folder: Path):
        self.folder = folder

    def measured(self, name: str, inputs: Result, measure: Callable[[], Result]) -> Result:
        """The part's result: from its file if that was measured from the same `inputs`, else measured now and kept.

        Args:
            inputs: plain JSON values that decide the result, for example settings and fingerprints.
        """
        inputs = json.loads(json.dumps(inputs))  # as they come back from a file: tuples become lists
        path = self.folder / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["inputs"] == inputs:
                return dict(kept["result"])
        result = json.loads(json.dumps(measure()))
        write_atomic(path, json.dumps({"inputs": inputs, "result": result}, indent=1, ensure_ascii=False) + "\n")
        return dict(result)


def fingerprint(path: Path) -> str:
    """A hash of the content of a file, or of all files of a folder. Raises: FileNotFoundError naming the path."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist, so nothing can be measured with it")
    digest = hashlib.blake2b(digest_size=12)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(repr((file.name, file.stat().st_size)).encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
