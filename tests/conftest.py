"""Signals as the programs under test find them at a terminal, wherever the tests themselves were started."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background, and inherited by every child
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup; a handler is not inherited
    signal.signal(signal.SIGHUP, lambda *_: None)
