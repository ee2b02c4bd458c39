"""Many clients at a time of `bitnet-fpga serve`: `make server-load` (docs/results/server-load.json).

    python -m tools.server_load [--clients N] [--seconds S] [--backend NAME] [--preset NAME]

The server runs as a process, with the demo model. First every request is sent alone; its text is what each of its
repetitions must be. Then each client sends one request after the other, drawn at random: greedy and seeded ones, with
and without a stream, with stop texts, and some that it hangs up. A text that differs, and a request without an answer,
ends the program with exit code 4. The result of a backend and preset replaces the one before; those of others stay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from boards.results import machine
from hw.extras import as_program
from sw.errors import HardwareError, VerificationError
from sw.installed import commit
from sw.whole_file import whole_file

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "server-load.json"
MODEL = "models/shakespeare-nano"
QUEUE = 64
HANG_UP = 0.1
"""Part of the streams that are closed after the first token."""

SAMPLES = 12
"""How often the memory of the server is looked at."""

READY_S, ANSWER_S, END_S = 600, 600, 60
DIFFERENT = 4


def requests() -> list[dict[str, Any]]:
    """What clients ask: prompts of 1 to about 40 tokens, answers of 4 to 24."""
    prompts = ["ROMEO:", "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n", "A", "\n\nKING"]
    asked: list[dict[str, Any]] = []
    for number, prompt in enumerate(prompts):
        asked += [
            {"prompt": prompt, "temperature": 0, "max_tokens": 16},
            {"prompt": prompt, "temperature": 1, "max_tokens": 24, "seed": number},
            {"prompt": prompt, "temperature": 0.7, "max_tokens": 16, "seed": number, "top_p": 0.9, "stop": ["\n\n"]},
            {"prompt": prompt, "temperature": 0, "max_tokens": 4, "logprobs": 2},
        ]
    return asked


@dataclass
class Seen:
    """What happened under load. Seconds are those of answers that were read to their end."""

    answers: int = 0
    hang_ups: int = 0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    kilobytes: list[int] = field(default_factory=list)


@contextmanager
def serving(options: list[str]) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that is ready. Raises HardwareError if it does not end well."""
    process = subprocess.Popen([sys.executable, "-m", "sw", "serve", MODEL, "--port", "0", "--queue", str(QUEUE),
                                *options], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline()]
        found = re.search(r"http://\S+:\d+", lines[0])
        if not found:
            raise HardwareError(f"the server does not start: {lines[0]}")
        until = time.monotonic() + READY_S
        while httpx.get(found[0] + "/health").status_code != 200:
            if process.poll() is not None or time.monotonic() > until:
                raise HardwareError(f"the server is not ready: {process.stderr.read()}")
            time.sleep(0.2)
        yield found[0], process.pid
        process.send_signal(signal.SIGTERM)
        if process.wait(END_S):
            raise HardwareError(f"the server ended with exit code {process.returncode}: {process.stderr.read()}")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _resident(process: int) -> int:
    """Kilobytes of memory of a process."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


async def _stream(client: httpx.AsyncClient, asked: dict[str, Any], leave: bool) -> tuple[str, float]:
    """Text of a stream, and when its first token came; with `leave` it is closed then."""
    text, first, ended = "", 0.0, False
    async with client.stream("POST", "/v1/completions", json=asked | {"stream": True}) as answer:
        if answer.status_code != 200:
            raise VerificationError(f"status {answer.status_code}: {(await answer.aread())[:200]!r}")
        async for line in answer.aiter_lines():
            ended = ended or line == "data: [DONE]"
            if ended or not line.startswith("data: "):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise VerificationError(f"a stream ended with {event['error']}")
            first = first or time.monotonic()
            text += event["choices"][0]["text"]
            if leave:
                return text, first
    if not ended:
        raise VerificationError("a stream ended in the middle")
    return text, first


async def _client(number: int, client: httpx.AsyncClient, expected: list[str], until: float, seen: Seen) -> None:
    """Ask and compare, one request after the other."""
    choose = random.Random(number)
    asked = requests()
    while time.monotonic() < until:
        which, began = choose.randrange(len(asked)), time.monotonic()
        stream, leave = choose.random() < 0.7, choose.random() < HANG_UP
        if stream:
            text, first = await _stream(client, asked[which], leave)
            if leave:
                seen.hang_ups += 1
                if not expected[which].startswith(text):
                    raise VerificationError(f"request {which}: {text!r} is not the beginning of {expected[which]!r}")
                continue
            seen.first.append(first - began)
        else:
            answer = (await client.post("/v1/completions", json=asked[which])).raise_for_status().json()
            text = answer["choices"][0]["text"]
        if text != expected[which]:
            raise VerificationError(f"request {which}: alone {expected[which]!r}, under load {text!r}")
        seen.answers += 1
        seen.whole.append(time.monotonic() - began)


async def _watch(process: int, seconds: float, seen: Seen) -> None:
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)
        seen.kilobytes.append(_resident(process))


async def load(url: str, process: int, clients: int, seconds: float) -> Seen:
    """Put the load on a server. Raises VerificationError, httpx.HTTPError."""
    seen = Seen()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S, limits=limits) as client:
        expected = [(await client.post("/v1/completions", json=one)).raise_for_status().json()["choices"][0]["text"]
                    for one in requests()]
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch(process, seconds, seen))
            for number in range(clients):
                tasks.create_task(_client(number, client, expected, until, seen))
    return seen


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of some seconds."""
    return {"median": round(float(np.median(values)), 3), "p95": round(float(np.percentile(values, 95)), 3),
            "largest": round(max(values), 3)}


def run(options: argparse.Namespace, made: dict[str, Any]) -> dict[str, Any]:
    """The record of a load. Raises HardwareError, and a group of VerificationError and httpx.HTTPError."""
    with serving(["--backend", options.backend, "--preset", options.preset, "--slots", str(options.slots)]) as server:
        url, process = server
        began = time.monotonic()
        seen = asyncio.run(load(url, process, options.clients, options.seconds))
        taken = time.monotonic() - began
        lines = [line.split() for line in httpx.get(url + "/metrics").text.splitlines() if not line.startswith("#")]
    numbers = dict(lines)
    return {
        "made": made, "clients": options.clients, "seconds": round(taken, 1), "answers_compared": seen.answers,
        "hang_ups": seen.hang_ups, "new_tokens": int(float(numbers["bitnet_fpga_new_tokens_total"])),
        "reused_tokens": int(float(numbers["bitnet_fpga_reused_tokens_total"])),
        "seconds_to_first_token": spread(seen.first), "seconds_to_end": spread(seen.whole),
        "resident_kilobytes": seen.kilobytes,
    }


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="server_load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--backend", default="golden", choices=("golden", "sim"))
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--slots", type=int, default=2)
    options, result = parser.parse_args(arguments), dict[str, Any]()
    made = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": machine(),
            "python": platform.python_version(), "command": " ".join(["python -m tools.server_load", *arguments])}
    try:
        result = run(options, made)
    except* (VerificationError, httpx.HTTPError) as errors:
        print(f"error: {errors.exceptions[0]!r}", file=sys.stderr)
    if not result:
        return DIFFERENT
    old = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    name = f"{options.backend} {options.preset}, {options.clients} clients"
    with whole_file(RESULT) as file:
        file.write((json.dumps(dict(sorted((old | {name: result}).items())), indent=1) + "\n").encode())
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    with as_program():
        sys.exit(main(sys.argv[1:]))
