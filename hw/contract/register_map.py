"""The registers of the accelerator as data. This file is read by the register file, the driver and docs/registers.md.

`python -m hw.contract.register_map` writes docs/registers.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amaranth.lib import enum

__all__ = [
    "ADDRESS_BITS", "ERROR_SENTENCES", "ID_MAGIC", "ID_VERSION", "MAX_END_IDS", "REGISTERS", "ErrorCode", "Field",
    "LogitsMode", "Register", "find", "markdown", "ports",
]

ADDRESS_BITS = 12
"""Bits of a byte address inside the register window."""

MAX_END_IDS = 4
"""Token ids that can end a run: the registers END_ID_0 to END_ID_3. The driver handles more (sw/driver.py)."""

ID_MAGIC = 0xB158
"""Upper half of ID: something else answers if it differs."""

ID_VERSION = 2
"""Lower half of ID: raised when the meaning of a register changes."""


class ErrorCode(enum.Enum, shape=5):
    """Field `error` of STATUS. A read error is 0 + `AxiError`, a write error is 8 + `AxiError`."""

    NONE = 0
    READ_SLVERR = 1
    READ_DECERR = 2
    READ_LAST = 3
    READ_UNEXPECTED = 4
    READ_TIMEOUT = 5
    READ_RANGE = 6
    WRITE_SLVERR = 9
    WRITE_DECERR = 10
    WRITE_UNEXPECTED = 12
    WRITE_TIMEOUT = 13
    WRITE_RANGE = 14
    BAD_OPCODE = 16
    CONTEXT_FULL = 17
    BAD_PARAMETER = 18
    BAD_TOKEN = 19
    HEADER_CRC = 20


ERROR_SENTENCES = {
    ErrorCode.NONE: "No error.",
    ErrorCode.READ_SLVERR: "The memory answered a read with SLVERR.",
    ErrorCode.READ_DECERR: "No memory answers at an address that was read; check the base addresses.",
    ErrorCode.READ_LAST: "A read burst ended too early or too late.",
    ErrorCode.READ_UNEXPECTED: "Read data arrived that had not been asked for.",
    ErrorCode.READ_TIMEOUT: "The memory did not answer a read in time.",
    ErrorCode.READ_RANGE: "A read was about to leave READ_BASE to READ_END; the image or a register is wrong.",
    ErrorCode.WRITE_SLVERR: "The memory answered a write with SLVERR.",
    ErrorCode.WRITE_DECERR: "No memory answers at an address that was written; check the base addresses.",
    ErrorCode.WRITE_UNEXPECTED: "A write response arrived that belongs to no write.",
    ErrorCode.WRITE_TIMEOUT: "The memory did not answer a write in time.",
    ErrorCode.WRITE_RANGE: "A write was about to leave WRITE_BASE to WRITE_END; the image or a register is wrong.",
    ErrorCode.BAD_OPCODE: "The packet stream holds an unknown command; the image is damaged or its address is wrong.",
    ErrorCode.CONTEXT_FULL: "The sequence reached CONTEXT before it ended.",
    ErrorCode.BAD_PARAMETER: "A register holds a value that cannot be run, such as a prompt of 0 tokens.",
    ErrorCode.BAD_TOKEN: "A token id of the prompt lies beyond the vocabulary; the prompt in memory is damaged.",
    ErrorCode.HEADER_CRC: "A header of the packet stream has a wrong CRC; the image in memory is damaged or its "
                          "address is wrong.",
}
"""What the driver tells the user."""


class LogitsMode(enum.Enum, shape=2):
    """Which tokens write their logits to memory: none, the last of the prompt and every generated one, or all."""

    NONE = 0
    LAST = 1
    ALL = 2


@dataclass(frozen=True)
class Field:
    """Bits of a register.

    Attributes:
        name: lower case, unique in its register.
        bits: width.
        sentence: what it means.
        low: lowest bit inside the register.
        port: port of the register file that carries it; empty for a constant.
        port_low: bit of the port that `low` is.
    """

    name: str
    bits: int
    sentence: str
    low: int = 0
    port: str = ""
    port_low: int = 0


@dataclass(frozen=True)
class Register:
    """A 32-bit word. Access `r` is read-only, `rw` keeps what was written, `pulse` acts once and reads 0."""

    name: str
    address: int
    access: Literal["r", "rw", "pulse"]
    fields: tuple[Field, ...]


def _word(name: str, address: int, access: Literal["r", "rw"], sentence: str, bits: int = 32) -> list[Register]:
    """A register with one field and the port of its name."""
    return [Register(name, address, access, (Field("value", bits, sentence, port=name.lower()),))]


def _pair(name: str, address: int, access: Literal["r", "rw"], sentence: str, constant: bool = False) -> list[Register]:
    """A 64-bit value in two registers and one port."""
    port = "" if constant else name.lower()
    latched = " Holds the value of the moment when the lower half was last read." if access == "r" and port else ""
    return [
        Register(f"{name}_LO", address, access, (Field("value", 32, f"{sentence} Bits 31:0.", port=port),)),
        Register(
            f"{name}_HI", address + 4, access,
            (Field("value", 32, f"{sentence} Bits 63:32.{latched}", port=port, port_low=32),),
        ),
    ]


_PAGES = "In units of 4 KB: bits 11:0 count as 0."

REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x000, "r", (
        Field("version", 16, f"Version of this register map: {ID_VERSION}."),
        Field("magic", 16, f"Always 0x{ID_MAGIC:04X}.", low=16),
    )),
    *_pair("BUILD_ID", 0x008, "r", "`AccelConfig.build_id`; an image fits if it holds the same number.", constant=True),
    Register("CONTROL", 0x010, "pulse", (
        Field("start", 1, "Writing 1 starts a run with the values of the registers below. Ignored while `busy`, and "
              "until an error of memory or of the packet stream is aborted.", low=0, port="start"),
        Field("abort", 1, "Writing 1 ends a run and clears the error; `busy` stays 1 until the memory has answered all "
              "that it owes.", low=1, port="abort"),
    )),
    Register("STATUS", 0x014, "r", (
        Field("busy", 1, "A run or an abort is in progress; writing other registers than CONTROL is not allowed.",
              low=0, port="busy"),
        Field("done", 1, "The last run has ended, with or without an error; 0 after an abort.", low=1, port="done"),
        Field("error", 5, "Why the run ended early: an error code.", low=8, port="error"),
        Field("error_port", 2, "The memory port of a read error.", low=16, port="error_port"),
    )),
    *_pair("IMAGE_BASE", 0x020, "rw", "Byte address of the model image."),
    *_pair("KV_BASE", 0x028, "rw", "Byte address of slot 0 of the KV memory."),
    *_pair("SLOT_STRIDE", 0x030, "rw", "Bytes from one KV slot to the next."),
    *_word("STREAM_OFFSET", 0x040, "rw", "Bytes from the image to the packets of the layers."),
    *_word("STREAM_BEATS", 0x044, "rw", "Beats of the packets of the layers."),
    *_word("HEAD_OFFSET", 0x048, "rw", "Bytes from the image to the packets of the LM head."),
    *_word("HEAD_BEATS", 0x04C, "rw", "Beats of the packets of the LM head."),
    *_word("EMBED_OFFSET", 0x050, "rw", "Bytes from the image to the embedding table."),
    *_word("EMBED_STRIDE", 0x054, "rw", "Bytes from one row of the embedding table to the next."),
    *_word("ROPE_OFFSET", 0x058, "rw", "Bytes from the image to the RoPE table."),
    *_word("ROPE_STRIDE", 0x05C, "rw", "Bytes from one row of the RoPE table to the next."),
    *_pair("PROMPT_ADDRESS", 0x060, "rw", "Byte address of the prompt, one 32-bit token id after the other."),
    *_word("PROMPT_LENGTH", 0x068, "rw", "Tokens of the prompt, at least 1; sequences of a batch."),
    *_word("START_POSITION", 0x06C, "rw", "Position of the first prompt token; those before it are in the KV memory."),
    *_word("SLOT", 0x070, "rw", "KV slot of the sequence.", 16),
    *_word("CHUNK", 0x074, "rw", "Prompt tokens that share a pass over the weights, 1 to the number of columns.", 7),
    *_word("MAX_NEW_TOKENS", 0x078, "rw", "Tokens to generate at most."),
    *_word("CONTEXT", 0x07C, "rw", "Positions that a slot holds."),
    *(r for n in range(MAX_END_IDS) for r in _word(
        f"END_ID_{n}", 0x080 + 4 * n, "rw", f"Token id that ends generation if END_COUNT is above {n}.")),
    *_word("END_COUNT", 0x090, "rw", "How many of the end ids are used, 0 to 4.", 3),
    *_word("LOGITS_MODE", 0x094, "rw", "Which logits go to memory: 0 none, 1 those that choose a token, 2 all.", 2),
    *_pair("LOGITS_ADDRESS", 0x098, "rw", "Byte address of the logits; a multiple of the beat."),
    *_pair("TOKENS_ADDRESS", 0x0A0, "rw", "Byte address of the generated tokens, 32 bits each."),
    *_word("LOGITS_BEATS", 0x0A8, "rw", "Beats of a row of logits: ceil(vocabulary * 4 / beat).", 24),
    *_word("BATCH", 0x0AC, "rw", "1: a batch, see below.", 1),
    *_word("VOCABULARY", 0x0B0, "rw", "Token ids of the prompt must be below."),
    *_word("TOKEN_COUNT", 0x0C0, "r", "Tokens generated so far."),
    *_word("LAST_TOKEN", 0x0C4, "r", "Token generated last."),
    *_pair("READ_BASE", 0x0D0, "rw", f"First byte that may be read. {_PAGES}"),
    *_pair("READ_END", 0x0D8, "rw", f"First byte behind those that may be read. {_PAGES}"),
    *_pair("WRITE_BASE", 0x0E0, "rw", f"First byte that may be written. {_PAGES}"),
    *_pair("WRITE_END", 0x0E8, "rw", f"First byte behind those that may be written. {_PAGES}"),
    *_pair("CYCLES", 0x100, "r", "Clocks of the run."),
    *_word("STREAM_BUSY", 0x108, "r", "Clocks in which a beat of the packet stream was consumed."),
    *_word("STREAM_STARVED", 0x10C, "r", "Clocks in which the machine waited for the packet stream."),
    *_word("ARRAY_WAITING", 0x110, "r", "Clocks in which weights were there and the array could not take them."),
    *_word("STREAM_WAITING", 0x114, "r", "Clocks in which a beat of the packet stream was there and nobody took it."),
    *_word("ATTENTION_BUSY", 0x118, "r", "Clocks spent in ATTEND."),
    *_word("HEAD_BUSY", 0x11C, "r", "Clocks spent in HEAD."),
    *_word("EMBED_BUSY", 0x120, "r", "Clocks spent in EMBED."),
    *_word("NORM_BUSY", 0x124, "r", "Clocks spent in LOAD_NORM and QUANTIZE."),
    *_word("MATMUL_BUSY", 0x128, "r", "Clocks spent in MATMUL."),
)
"""All registers, by address."""


def find(name: str) -> Register:
    """The register of that name. Raises KeyError."""
    for register in REGISTERS:
        if register.name == name:
            return register
    raise KeyError(f"no register named {name!r}")


def ports(access: Literal["r", "rw", "pulse"]) -> dict[str, int]:
    """Name and width of every port of the register file that belongs to registers of this access."""
    widths: dict[str, int] = {}
    for register in REGISTERS:
        for field in register.fields:
            if register.access == access and field.port:
                widths[field.port] = max(widths.get(field.port, 0), field.port_low + field.bits)
    return widths


def markdown() -> str:
    """The text of docs/registers.md."""
    lines = [
        "# Registers",
        "",
        "Generated by `python -m hw.contract.register_map`; edit `hw/contract/register_map.py` instead.",
        "",
        "A 4 KB window of 32-bit registers behind AXI4-Lite. `r` is read-only, `rw` keeps what was written, `pulse`",
        "acts once and reads 0. Byte strobes are honoured; bits that are not listed read 0. An address without a",
        "register reads 0 and answers SLVERR; a write there or to an `r` register changes nothing and answers SLVERR.",
        "All `rw` registers are 0 after reset.",
        "",
        "| address | register | access | bits | field | meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for register in REGISTERS:
        for n, field in enumerate(register.fields):
            high = field.low + field.bits - 1
            bits = f"{high}:{field.low}" if field.bits > 1 else f"{high}"
            head = f"0x{register.address:03X} | {register.name} | {register.access}" if n == 0 else "| |"
            lines.append(f"| {head} | {bits} | {field.name} | {field.sentence} |")
    lines += [
        "",
        "## A run",
        "",
        "As `sw/job.py` does it:",
        "",
        "1. `ID` and `BUILD_ID` are those of the driver and of the image; else nothing is written.",
        "2. `STATUS` is 0, or `done` alone; else abort, and wait until `STATUS` is 0.",
        "3. The prompt goes to memory, then every `rw` register gets its value (of the end ids the first `END_COUNT`).",
        "   Registers keep their values: those that a run of the same program wrote are left out where `STATUS` is",
        "   still `done`, and `CYCLES_LO` what it was at the end of that run.",
        "4. `CONTROL.start`. From then on `busy`, and at the end `done`.",
        "5. Read `STATUS`, then `TOKEN_COUNT`: the tokens up to there are in memory, and with `done` they are all.",
        "   `LAST_TOKEN` is the newest of them where `TOKEN_COUNT` is the same before and after it is read.",
        "   `STREAM_BUSY` grows as long as the run lives, but for the time of one ATTEND, and tells when a token is",
        "   due: a pass takes `STREAM_BEATS`, and the head `HEAD_BEATS` for each row of logits.",
        "6. `done` without `error`: counters and logits can be read. Anything else: abort, and wait until `STATUS` is",
        "   0. If it stays, the memory owes an answer that never comes: only a reset of both helps.",
        "",
        "CONTEXT_FULL and BAD_PARAMETER are found before memory is touched, or, in an entry of a batch, before",
        "anything is written; BAD_TOKEN before the pass that would feed the token. All other errors can come at any",
        "time, and `TOKEN_COUNT` is 0 then.",
        "",
        "No burst ever leaves READ_BASE to READ_END, or WRITE_BASE to WRITE_END: it is not issued, and the run ends",
        "with READ_RANGE or WRITE_RANGE. `sw/job.py` opens the whole layout for reads, and for writes what lies",
        "behind the image, so that nothing the machine is told can damage the image or reach anybody else's memory.",
        "",
        "## A batch",
        "",
        "With BATCH = 1 a run decodes PROMPT_LENGTH sequences together, 1 to the number of columns, on one stream of",
        "weights. At PROMPT_ADDRESS lies an entry of four 32-bit words for each: the token to feed next, its",
        "position, the KV slot, 0. Each needs a slot of its own, which holds the positions before. START_POSITION,",
        "SLOT and CHUNK are not used.",
        "",
        "A pass feeds one token of every sequence, and every sequence chooses its next one: token i of the run",
        "belongs to sequence i modulo PROMPT_LENGTH, and so does row i of the logits. The run ends with the first",
        "pass in which a sequence chose an end id or filled its context, at the latest after MAX_NEW_TOKENS passes.",
        "So sequences leave and join between runs; one that joins has its prompt fed by a run of its own, which also",
        "chooses its first token.",
    ]
    lines += ["", "## Error codes", "", "| code | name | meaning |", "| --- | --- | --- |"]
    lines += [f"| {code.value} | {code.name} | {sentence} |" for code, sentence in ERROR_SENTENCES.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parents[2] / "docs" / "registers.md").write_text(markdown())
