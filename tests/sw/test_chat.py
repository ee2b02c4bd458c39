"""`bitnet-fpga chat` and `generate --chat`: what is printed, from a pipe and at a terminal."""

from __future__ import annotations

import inspect
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bitnet_fpga import Message, Sampling, Session
from sw.__main__ import main
from sw.chat.conversation import MAX_NEW_TOKENS
from sw.cli.chat import chat as command
from sw.errors import Terminated
from tests.sw.chat.chat_model import CONTEXT, write_chat_model

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "shakespeare-nano"
TEMPLATE = "{% for message in messages %}{{ message.role | upper }}:\n{{ message.content }}\n{% endfor %}ASSISTANT:\n"
WAIT_S = 60
INTERRUPT_S = 10
"""How long a Ctrl-C may take to be seen, on a loaded machine, before it counts as lost (see `Terminal.interrupt`)."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.jinja"
    path.write_text(TEMPLATE)
    return path


Captured = pytest.CaptureFixture[str]


def chat(model: Path, text: str, *options: str, patch: pytest.MonkeyPatch, name: str = "chat") -> int:
    patch.setattr("sys.stdin", io.StringIO(text))
    return main([name, str(model), *options])


def test_a_pipe(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A line is a turn; only answers are on stdout, and they are those of a session."""
    assert chat(model, "\ufeffWho?\r\n\n//What\n", "--system", "Be brief.", "--max-new-tokens", "5",
                patch=monkeypatch) == 0
    captured = capsys.readouterr()
    with Session(model) as session:
        conversation = session.conversation("Be brief.")
        answers = [conversation.ask(text, max_new_tokens=5).result.text for text in ("Who?", "/What")]
    assert captured.out == "".join(f"{answer}\n" for answer in answers)
    assert captured.err == ("sampling: greedy (the checkpoint has no generation_config.json); answers of up to 5 "
                            "tokens\n")


def test_the_default_is_that_of_a_session() -> None:
    assert inspect.signature(command).parameters["max_new_tokens"].default == MAX_NEW_TOKENS


def test_json(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert chat(model, "Who?\nWhat?\n", "--json", "--max-new-tokens", "3", patch=monkeypatch) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["new_tokens"], first["reused_tokens"], first["context"]) == (3, 0, CONTEXT)
    assert second["reused_tokens"] >= first["prompt_tokens"] - 1
    assert second["stopped"] == "3 tokens reached"


def test_sampling_of_the_checkpoint(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """`generation_config.json` decides what no option says; every turn has a seed of its own."""
    file = model / "generation_config.json"
    file.write_text(json.dumps({"do_sample": True, "temperature": 2.5, "top_p": 0.9, "eos_token_id": 513}))
    try:
        assert chat(model, "Who?\nWhat?\n/set top-k 3\n", "--max-new-tokens", "4", "--seed", "7",
                    patch=monkeypatch) == 0
    finally:
        file.unlink()
    captured = capsys.readouterr()
    with Session(model) as session:
        conversation = session.conversation()
        answers = [conversation.ask(text, max_new_tokens=4, sampling=Sampling(
            temperature=2.5, top_k=50, top_p=0.9, seed=seed)).result.text for text, seed in (("Who?", 7), ("What?", 8))]
    assert captured.out == "".join(f"{answer}\n" for answer in answers)
    assert captured.err.splitlines() == [
        "sampling: temperature 2.5, top-k 50, top-p 0.9, seed 7 (of generation_config.json); answers of up to 4 tokens",
        "temperature 2.5, top-k 3, top-p 0.9, seed 7 (options; the rest of generation_config.json); answers of up to 4 "
        "tokens"]


def test_commands(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    saved = tmp_path / "a b.json"
    lines = ["/help", "Who?", f"/save {saved}", "/stats", "/reset", f"/load {saved}", "/set max-new-tokens 2", "/set",
             "And?", "/quit", "not said"]
    assert chat(model, "\n".join(lines), "--max-new-tokens", "3", patch=monkeypatch) == 0
    captured = capsys.readouterr()
    for told in ("/load FILE", f"2 messages written to {saved}", f"2 messages read from {saved}", "1 answers, 3 new "
                 "tokens", "answers of up to 2 tokens", "the conversation begins again"):
        assert told in captured.err
    messages = json.loads(saved.read_text())["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant"]
    with Session(model) as session:
        conversation = session.conversation(messages=messages)
        assert captured.out.endswith(f"{conversation.ask('And?', max_new_tokens=2).result.text}\n")
        assert conversation.messages[0] == Message("user", "Who?")


@pytest.mark.parametrize(("line", "sentence"), [
    ("/no", "'/no' is not a command: /help lists them"), ("/set x 1", "there is no setting 'x'"),
    ("/set top-k x", "top-k must be a number, not 'x'"), ("/set temperature -1", "temperature must be a number above"),
    ("/set max-new-tokens 0", "max-new-tokens must be at least 1"), ("/quit now", "is not a command"),
    ("/load {model}/no", "does not exist"), ("/load {model}/config.json", "has no list of messages"),
    ("/save {model}/config.json", "is the same file as"), ("/save {model}", "it is a folder"), ("/save", "is not a"),
    ("x" * 999, "tokens with this message, but the context holds 160: begin again (/reset"),
    ("a\udcff", "a message is not valid Unicode"),
])
def test_lines_that_end_a_pipe(
    line: str, sentence: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert chat(model, line.format(model=model) + "\nWho?\n", patch=monkeypatch) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err.splitlines()[-1]
    assert not captured.out


def test_a_context_that_fills(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It is announced before it is full, with what can be done."""
    options = ("--context", "40", "--max-new-tokens", "30")
    assert chat(model, "Speak of kings.\n", *options, patch=monkeypatch) == 0
    told = capsys.readouterr().err
    assert re.search(r"note: (\d+ positions|no position) of the context (are|is) left: begin again with /reset \(/save "
                     r"FILE keeps the conversation\), or start with a larger --context, up to 160", told), told
    assert chat(model, "Speak of the kings of old.\n", "--context", "32", "--max-new-tokens", "30",
                patch=monkeypatch) == 0
    assert re.search(r"note: the context has room for \d tokens of the answer", capsys.readouterr().err)


def test_without_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Before anything is packed."""
    bad = tmp_path / "bad"
    bad.write_text("{% if %}")
    for name in ("chat", "generate"):
        more = () if name == "chat" else ("--chat", "--prompt", "a")
        for options, sentence in (((), "has no chat template: give one with --chat-template FILE"),
                                  (("--chat-template", str(bad)), f"the chat template of {bad} is not usable: line 1")):
            assert chat(DEMO, "", *more, *options, patch=monkeypatch, name=name) == 2
            captured = capsys.readouterr()
            assert sentence in captured.err
            assert captured.err.count("\n") == 1


def test_generate_applies_the_template_once(
    model: Path, template: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    options = ("--chat", "--system", "Be brief.", "--prompt", "Who?<|eot_id|>", "--max-new-tokens", "4", "--json")
    for more in ((), ("--chat-template", str(template))):
        assert chat(model, "", *options, *more, patch=monkeypatch, name="generate") == 0
        with Session(model, chat_template=template if more else None) as session:
            messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?<|eot_id|>"}]
            expected = session.chat(messages, max_new_tokens=4).result
        found = json.loads(capsys.readouterr().out)
        assert (tuple(found["prompt_ids"]), tuple(found["tokens"])) == (expected.prompt_ids, expected.tokens)


@pytest.mark.parametrize("options", [
    ("--system", "a", "--prompt", "b"), ("--chat-template", "f", "--prompt", "b"), ("--chat",),
    ("--chat", "--prompt-ids", "1"), ("--chat", "--prompt", "a", "--batch", "f"),
])
def test_options_that_need_each_other(
    options: tuple[str, ...], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert chat(model, "", *options, patch=monkeypatch, name="generate") == 2
    assert "--chat" in capsys.readouterr().err


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sw", "chat", *arguments], cwd=ROOT, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, env=os.environ | {"TERM": "dumb"},
            # Opening it makes it the controlling terminal, which turns Ctrl-C into a signal.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, pattern: str) -> None:
        """Read until the text behind the last match has the pattern."""
        deadline = time.monotonic() + WAIT_S
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # the program has ended
                    assert re.search(pattern, self.text), self.text
        self.text = self.text[found.end() :]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self, pattern: str) -> None:
        """Type Ctrl-C until the text has the pattern.

        CPython's `input` sees a signal that came as it began only at the next one.
        """
        for _ in range(WAIT_S // INTERRUPT_S):
            self.type("\x03")
            deadline = time.monotonic() + INTERRUPT_S
            while (left := deadline - time.monotonic()) > 0:
                if select.select([self.master], [], [], left)[0]:
                    try:
                        self.text += os.read(self.master, 4096).decode(errors="replace")
                    except OSError:  # the program has ended
                        assert re.search(pattern, self.text), self.text
                if found := re.search(pattern, self.text):
                    self.text = self.text[found.end() :]
                    return
        pytest.fail(self.text)

    def ended_by(self, key: str) -> int:
        """Type the key until the program ends. Returns its exit code."""
        for _ in range(WAIT_S // INTERRUPT_S):
            self.type(key)
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(INTERRUPT_S)
        pytest.fail(self.text)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_a_signal_ends_the_program_and_not_the_answer(template: Path) -> None:
    terminal = Terminal(str(DEMO), "--chat-template", str(template))
    try:
        terminal.wait_for("> ")
        terminal.type("Speak.\r")
        terminal.wait_for(r"Speak\.\s+[A-Z]")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.wait_for("interrupted\r\n$")
        assert terminal.process.wait(WAIT_S) == 128 + signal.SIGTERM
    finally:
        terminal.end()


@pytest.mark.parametrize("end", ["\x03", "\x04", "/quit\r"])
def test_a_terminal(end: str, template: Path) -> None:
    """Ctrl-C ends an answer and not the program; an error ends a turn; the three ways to end."""
    terminal = Terminal(str(DEMO), "--chat-template", str(template))
    try:
        terminal.wait_for("context of 256 positions; /help lists the commands")
        terminal.wait_for("> ")
        terminal.type("Speak.\r")
        terminal.wait_for(r"Speak\.\s+[A-Z]")  # the first text of the answer
        terminal.type("\x03")
        terminal.wait_for(r"\[\d+ of 256 positions; \d+ tokens, [\d.]+ tokens/s; interrupted\]")
        terminal.wait_for("> ")
        terminal.type("/no\r")
        terminal.wait_for("error: '/no' is not a command")
        terminal.wait_for("> ")
        terminal.interrupt("Ctrl-C again, or Ctrl-D, ends the program")
        terminal.type("/set max-new-tokens 2\rAnd?\r")
        terminal.wait_for(r"2 tokens, [\d.]+ tokens/s; 2 tokens reached\]")
        terminal.wait_for("> ")
        if end == "\x03":
            terminal.interrupt("Ctrl-C again, or Ctrl-D, ends the program")
        assert terminal.ended_by(end) == 0
    finally:
        terminal.end()


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_ctrl_c_between_a_command_and_the_prompt(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """As at the prompt: the first does not end the program, a second one does unless a line came between."""
    lines: list[str] = []

    def run(_: object, line: str) -> bool:
        lines.append(line)
        raise KeyboardInterrupt

    monkeypatch.setattr("sw.cli.chatting.ChatCommands.run", run)
    monkeypatch.setattr("sys.stdin", FakeTerminal("/a\n/b\n"))
    monkeypatch.setattr("sys.stdout", FakeTerminal())
    assert main(["chat", str(model)]) == 0
    assert lines == ["/a", "/b"]
    assert capsys.readouterr().err.count("Ctrl-C again, or Ctrl-D, ends the program") == 2


def test_ctrl_c_while_the_notice_is_printed(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The second one ends the program like one at the prompt: with exit code 0."""
    told: list[str] = []

    def notice(sentence: str) -> None:
        told.append(sentence)
        if "Ctrl-C again" in sentence:
            raise KeyboardInterrupt

    def interrupted(_: object, _line: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("sw.cli.chatting.tell", notice)
    monkeypatch.setattr("sw.cli.chatting.ChatCommands.run", interrupted)
    monkeypatch.setattr("sys.stdin", FakeTerminal("/a\n/b\n"))
    monkeypatch.setattr("sys.stdout", FakeTerminal())
    assert main(["chat", str(model)]) == 0
    assert told[-1] == "Ctrl-C again, or Ctrl-D, ends the program"
    assert "interrupted" not in capsys.readouterr().err


def test_a_signal_at_the_prompt(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """What is told begins on a line of its own."""
    def ended(_: str) -> str:
        raise Terminated

    monkeypatch.setattr("sw.cli.chatting._read_line", ended)
    output = FakeTerminal()
    monkeypatch.setattr("sys.stdin", FakeTerminal())
    monkeypatch.setattr("sys.stdout", output)
    assert main(["chat", str(model)]) == 130
    assert output.getvalue() == "\n"
    assert capsys.readouterr().err.endswith("interrupted\n")
