"""Ctrl-C for the children of tests."""

import signal


def let_ctrl_c_through() -> None:
    """In a child, as `preexec_fn`: a shell ignores the signal for what it starts with `&`, and the tests' own children would
    inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
