"""Child processes that ask math-verify whether two answers are equal, and give up when that takes too long.

What it is: `MathsPool`, for the parent, and the child's loop (`python -m kimivl.score.maths_pool`).
What it is not: a judgement; a question that hung, or ran out of memory, says "not equal".
Why processes: "9^9^9^9" costs seconds and gigabytes, and math-verify's own time-outs work in a main thread only. A child reads
one JSON line a question, so that nothing of a question is ever executed. It forks for each one: the kernel kills the fork at its
time, and the child, which has imported math-verify in seconds, is there for the next question.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from queue import LifoQueue
from typing import Any

from kimivl.score.maths import same_items

SECONDS = 2.0  # for one question, all entries of a list together; a hostile one costs this and not more
MEMORY = 2 * 2**30
START_SECONDS = 120.0  # two seconds of work, on a machine of any load
GRACE = 0.8  # seconds beyond a question's own, for the child to see that the question was killed
LONGEST = 2000  # characters of an answer
# What a child proves before it is asked. Parsers and sympy are slow at what they meet first, and a fork forgets what it met.
EQUAL = (
    (r"\frac{1}{2}", "0.5"),
    ("x^2-4", "(x-2)(x+2)"),
    (r"2\sqrt{2}\pi", r"\pi\sqrt{8}"),
    (r"\sin(x)", r"\cos(\pi/2-x)"),
    (r"\ln(e^2)+\log_2 8", "5"),
    (r"\sum_{n=1}^{3} n", "6"),
    ("[0, x+1)", "[0,1+x)"),
)
UNEQUAL = (("x+1", "x+2"),)


class MathsPool:
    """Compares answers in child processes, one a thread that asks. A context manager; `close` ends the children.

    Args:
        workers: how many children at most. They start when they are needed.
        seconds: time for one question, then it is given up.
        memory: bytes of address space of a question.
    """

    def __init__(self, workers: int = 1, seconds: float = SECONDS, memory: int = MEMORY):
        self.seconds, self.memory = seconds, memory
        self._idle: LifoQueue[_Child | None] = LifoQueue()  # the last one in is started, and is the first one out
        for _ in range(workers):
            self._idle.put(None)  # a place whose child is not started

    def equal(self, answer: str, truth: str) -> bool:
        """Whether both are the same to math-verify, entry by entry; False if that cannot be told in time. Waits for a free child.

        Raises: ValueError with the reason and the fix if a child does not start: a missing or broken math-verify must not look
            like wrong answers.
        """
        if max(len(answer), len(truth)) > LONGEST:
            return False
        child, verdict = self._idle.get(), None
        try:
            child = child or _Child(self.memory, self.seconds)
            verdict = child.ask(answer, truth)
            return bool(verdict)
        finally:
            if child and verdict is None:  # it is dead, or was interrupted: its late verdict must not answer the next one
                child.kill()
                child = None
            self._idle.put(child)

    def close(self) -> None:
        """Ends the children. Not to be called while `equal` runs."""
        while not self._idle.empty():
            if child := self._idle.get():
                child.kill()

    def __enter__(self) -> "MathsPool":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class _Child:
    def __init__(self, memory: int, seconds: float):
        self._seconds = seconds
        command = [sys.executable, "-m", "kimivl.score.maths_pool", str(memory), str(seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self._line(START_SECONDS) is None:
            slow = not self._ends()
            lines = self.kill().decode(errors="replace").split("\n")
            if slow:
                words = f"the child that compares maths answers said nothing within {START_SECONDS:.0f} seconds"
                raise ValueError(f"{words}: run again when the machine is less busy")
            reason = next((line for line in reversed(lines) if line.strip()), "no reason given")
            raise ValueError(f"the child that compares maths answers did not start ({reason}): pip install 'kimivl[rl]'")

    def _ends(self) -> bool:
        """Whether it has ended by itself, or is about to."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ask(self, answer: str, truth: str) -> bool | None:
        """The child's verdict; None if the child is dead, or as good as dead."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([answer, truth]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(self._seconds + GRACE)
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


def answer_questions(memory: int, seconds: float) -> None:
    """The child: proves that it can tell equal from unequal, says that it is ready, then answers one JSON line with one."""
    from math_verify import parse, verify

    def compare(answer: str, truth: str) -> bool:
        # The clock of the fork is the only one.
        sides = [parse(side, parsing_timeout=None) for side in (f"${truth}$", f"${answer}$")]
        return all(sides) and bool(verify(*sides, timeout_seconds=None))

    def same(answer: str, truth: str) -> bool:
        try:
            return compare(answer, truth)
        except Exception:  # text of a policy is anything, and three parsers fail on it in as many ways: it is no right answer
            return False

    # Not by `same`, and in no fork: there a broken installation would make every answer wrong, and nobody would see it.
    if not all(compare(*pair) for pair in EQUAL) or any(compare(*pair) for pair in UNEQUAL):
        raise RuntimeError("math-verify cannot tell equal expressions from unequal ones")
    verdicts = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # whatever a library prints is no verdict, and nobody empties these pipes
        os.dup2(nowhere, stream)
    print("true", file=verdicts, flush=True)
    for line in sys.stdin:
        answer, truth = json.loads(line)
        print(json.dumps(_holds(partial(same_items, answer, truth, same), memory, seconds)), file=verdicts, flush=True)


def _holds(question: Callable[[], bool], memory: int, seconds: float) -> bool:
    """What the question says in a fork of this process; False if it fails there, or does not end in time."""
    fork = os.fork()
    if fork == 0:
        failed = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the fork, whatever it does at that moment
            signal.setitimer(signal.ITIMER_REAL, seconds)
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            failed = 0 if question() else 1
        finally:  # the fork must not read on
            os._exit(failed)
    return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0


if __name__ == "__main__":
    answer_questions(int(sys.argv[1]), float(sys.argv[2]))
