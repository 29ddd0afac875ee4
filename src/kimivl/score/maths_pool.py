"""Child processes that ask math-verify whether two expressions are equal, and are killed when they take too long.

What it is: `MathsPool`, for the parent, and the child's loop (`python -m kimivl.score.maths_pool`).
What it is not: a judgement; a child that died, hung or ran out of memory says "not equal".
Why processes: "9^9^9^9" costs seconds and gigabytes, and math-verify's own time-outs work in a main thread only. A child reads
one JSON line a question, so that nothing of a question is ever executed.
"""

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

SECONDS = 2.0  # for one question; a hostile one costs this and the start of a new child, not more
MEMORY = 2 * 2**30
START_SECONDS = 30.0
LONGEST = 2000  # characters of an expression


class MathsPool:
    """Compares expressions in child processes, several at a time. A context manager; `close` ends the children.

    Args:
        workers: how many children at most. They start when they are needed.
        seconds: time for one question, then its child is killed.
        memory: bytes of address space of a child.
    """

    def __init__(self, workers: int = 1, seconds: float = SECONDS, memory: int = MEMORY):
        self.seconds, self.memory = seconds, memory
        self._idle: SimpleQueue[_Child | None] = SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)  # a place whose child is not started
        self._threads = ThreadPoolExecutor(workers)

    def equal(self, answer: str, truth: str) -> bool:
        """Whether the two are the same to math-verify; False if that cannot be told in time. Waits for a free child.

        Raises: RuntimeError with the reason and the fix if a child does not start: a missing or broken math-verify must not look
            like wrong answers.
        """
        if max(len(answer), len(truth)) > LONGEST:
            return False
        child, verdict = self._idle.get(), None
        try:
            child = child or _Child(self.memory)
            verdict = child.ask(answer, truth, self.seconds)
            return bool(verdict)
        finally:
            if child and verdict is None:  # it hangs, is dead, or was interrupted: its late verdict must not answer the next one
                child.kill()
                child = None
            self._idle.put(child)

    def equal_all(self, pairs: Iterable[tuple[str, str]]) -> list[bool]:
        """`equal` of each (answer, truth), by all children together."""
        return list(self._threads.map(lambda pair: self.equal(*pair), pairs))

    def close(self) -> None:
        """Ends the children. Not to be called while `equal` runs."""
        self._threads.shutdown()
        while not self._idle.empty():
            if child := self._idle.get():
                child.kill()

    def __enter__(self) -> "MathsPool":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class _Child:
    def __init__(self, memory: int):
        command = [sys.executable, "-m", "kimivl.score.maths_pool", str(memory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self._line(START_SECONDS) is None:
            lines = self.kill().decode(errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), f"no word within {START_SECONDS:.0f} seconds")
            raise RuntimeError(f"the child that compares maths answers did not start ({reason}): pip install 'kimivl[rl]'")

    def ask(self, answer: str, truth: str, seconds: float) -> bool | None:
        """The child's verdict; None if it did not come in time or the child is dead."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([answer, truth]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(seconds)
        return None if line is None else bool(json.loads(line))

    def _line(self, seconds: float) -> bytes | None:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        return self._process.stdout.readline() or None

    def kill(self) -> bytes:
        """Ends the child; returns what it had said on stderr, which is only how it failed to start."""
        self._process.kill()
        return self._process.communicate()[1]


def answer_questions(memory: int) -> None:
    """The child: proves that it can tell equal from unequal, says that it is ready, then answers one JSON line with one."""
    from math_verify import parse, verify

    def compare(answer: str, truth: str) -> bool:
        # The parent's clock is the only one.
        sides = [parse(side, parsing_timeout=None) for side in (f"${truth}$", f"${answer}$")]
        return all(sides) and bool(verify(*sides, timeout_seconds=None))

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not in the `try` below: there a broken installation would make every answer wrong, and nobody would see it.
    if not compare(r"\frac{1}{2}", "0.5") or compare("x+1", "x+2"):
        raise RuntimeError("math-verify cannot tell equal expressions from unequal ones")
    verdicts = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # whatever a library prints is no verdict, and nobody empties these pipes
        os.dup2(nowhere, stream)
    print("true", file=verdicts, flush=True)
    for line in sys.stdin:
        answer, truth = json.loads(line)
        try:
            equal = compare(answer, truth)
        except Exception:  # text of a policy is anything, and three parsers fail on it in as many ways: it is no right answer
            equal = False
        print(json.dumps(equal), file=verdicts, flush=True)


if __name__ == "__main__":
    answer_questions(int(sys.argv[1]))
