"""The registers of the accelerator as data, for the register file, the driver and docs/registers.md.

`python -m hw.contract.register_map` writes the tables of docs/registers.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amaranth.lib import enum

from hw.contract.config import AccelConfig
from hw.contract.high_plane import GUARD_BITS
from hw.contract.tables import with_table

__all__ = [
    "ADDRESS_BITS", "CAUSES", "CONSTANTS", "COUNTERS", "COUNTER_BITS", "ERROR_SENTENCES", "ID_MAGIC", "ID_VERSION",
    "MAX_END_IDS", "REGISTERS", "ErrorCode", "Field", "LogitsMode", "Register", "decode", "document", "encode",
    "find", "registers_of", "values",
]

ADDRESS_BITS = 12
"""Bits of a byte address inside the register window."""

MAX_END_IDS = 4
"""Token ids that can end a run: the registers END_ID_0 to END_ID_3. The driver handles more (sw/driver.py)."""

ID_MAGIC = 0xB158
"""Upper half of ID: something else answers if it differs."""

ID_VERSION = 5
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
    ErrorCode.NONE: "no error",
    ErrorCode.READ_SLVERR: "the memory answered a read with SLVERR",
    ErrorCode.READ_DECERR: "no memory answers at an address that was read; check the base addresses",
    ErrorCode.READ_LAST: "a read burst ended too early or too late",
    ErrorCode.READ_UNEXPECTED: "read data arrived that was not requested",
    ErrorCode.READ_TIMEOUT: "the memory did not answer a read in time",
    ErrorCode.READ_RANGE: "a read burst outside of READ_BASE to READ_END was not issued; the image or a register is "
                          "wrong",
    ErrorCode.WRITE_SLVERR: "the memory answered a write with SLVERR",
    ErrorCode.WRITE_DECERR: "no memory answers at an address that was written; check the base addresses",
    ErrorCode.WRITE_UNEXPECTED: "a write response arrived that belongs to no write",
    ErrorCode.WRITE_TIMEOUT: "the memory did not answer a write in time",
    ErrorCode.WRITE_RANGE: "a write burst outside of WRITE_BASE to WRITE_END was not issued; the image or a register "
                           "is wrong",
    ErrorCode.BAD_OPCODE: "the packet stream holds an unknown command; the image is damaged or its address is wrong",
    ErrorCode.CONTEXT_FULL: "the prompt, or an entry of a batch, has a position that is not below CONTEXT",
    ErrorCode.BAD_PARAMETER: "a register holds a value that cannot be run, such as a prompt of 0 tokens",
    ErrorCode.BAD_TOKEN: "a token id of the prompt is not below the vocabulary; the prompt in memory is damaged",
    ErrorCode.HEADER_CRC: "a header of the packet stream has a wrong CRC; the image in memory is damaged or its "
                          "address is wrong",
}
"""What the driver tells the user, after the name of the error."""


class LogitsMode(enum.Enum, shape=2):
    """Which rows of logits go to memory. NONE: none. LAST: those that choose a token, which are the row of the last
    prompt token and of every token fed after it. ALL: the rows of all positions that are fed. BEST: of the rows of
    LAST their shortlists, on a machine with `AccelConfig.shortlist`."""

    NONE = 0
    LAST = 1
    ALL = 2
    BEST = 3


CAUSES = {
    "stream_busy": "Clocks in which a beat of the packet stream was consumed.",
    "stream_starved": "Clocks in which a unit was ready for a beat of the packet stream, and none was valid.",
    "array_waiting": "Other clocks of MATMUL: the array, or what takes its results, was not ready.",
    "norm_waiting": "Other clocks of LOAD_NORM and QUANTIZE.",
    "embed_waiting": "Other clocks of EMBED.",
    "kv_busy": "Clocks of ATTEND in which a beat of the KV cache was consumed.",
    "kv_starved": "Clocks of ATTEND in which it was ready for a beat of the KV cache, and none was valid.",
    "attention_waiting": "Other clocks of ATTEND.",
    "lm_head_waiting": "Other clocks of LM_HEAD: it was not ready, or its last results were under way.",
    "header_waiting": "Other clocks of a pass: a header was checked or decoded.",
    "loop_waiting": "Other clocks: no pass was under way.",
}
"""What a clock of a run was for, by name; of the causes that apply, the first one counts. These counters therefore add
up to CYCLES. `stream_starved` includes the clocks in which a pass waits for a header."""

COUNTERS = {
    "cycles": "Clocks of the run, from `start` to `done`.",
    **CAUSES,
    "attention_busy": "All clocks of ATTEND.",
    "lm_head_busy": "All clocks of LM_HEAD.",
    "embed_busy": "All clocks of EMBED.",
    "norm_busy": "All clocks of LOAD_NORM and QUANTIZE.",
    "matmul_busy": "All clocks of MATMUL.",
}
"""Counters of a run by name, in the order of their registers. Hardware, driver and reports take the names from here."""

COUNTER_BITS = 48
"""They do not wrap around: 2^48 clocks are 13 days at 250 MHz, and 4096 tokens of a model of 2 billion weights take
less than 2^41 on 40 lanes."""

CONSTANTS = ("id_version", "id_magic", "build_id")
"""Values that the register file holds itself; all others are members of its signatures."""

Access = Literal["r", "rw", "pulse"]


@dataclass(frozen=True)
class Field:
    """Bits of a register, which are bits of a value of the machine.

    Attributes:
        name: lower case, unique in its register.
        bits: width.
        sentence: what it means.
        value: the value that it is part of: a member of the machine's signatures, and what the driver reads or writes.
        low: lowest bit inside the register.
        value_low: bit of the value that `low` is.
    """

    name: str
    bits: int
    sentence: str
    value: str
    low: int = 0
    value_low: int = 0


@dataclass(frozen=True)
class Register:
    """A 32-bit word. Access `r` is read-only, `rw` keeps what was written, `pulse` acts once and reads 0.

    A `held` register reads as it was when the register before it was last read, so that the two belong together. A
    register with an `option` is there if this field of `AccelConfig` is not 0.
    """

    name: str
    address: int
    access: Access
    fields: tuple[Field, ...]
    held: bool = False
    option: str = ""

    def there(self, config: AccelConfig) -> bool:
        """Whether a machine has it."""
        return not self.option or bool(getattr(config, self.option))


def _word(
    name: str, address: int, access: Literal["r", "rw"], sentence: str, bits: int = 32, held: bool = False,
    option: str = "",
) -> list[Register]:
    """A register with one field, which is the value of its name."""
    return [Register(name, address, access, (Field("value", bits, sentence, name.lower()),), held, option)]


def _pair(name: str, address: int, access: Literal["r", "rw"], sentence: str, bits: int = 64) -> list[Register]:
    """A value of more than 32 bits in two registers."""
    value = name.lower()
    return [
        Register(f"{name}_LO", address, access, (Field("value", 32, f"{sentence} Bits 31:0.", value),)),
        Register(f"{name}_HI", address + 4, access,
                 (Field("value", bits - 32, f"{sentence} Bits {bits - 1}:32.", value, value_low=32),),
                 held=access == "r" and value not in CONSTANTS),
    ]


_PAGES = "In units of 4 KB: bits 11:0 count as 0."

REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x000, "r", (
        Field("version", 16, f"Version of this register map: {ID_VERSION}.", "id_version"),
        Field("magic", 16, f"Always 0x{ID_MAGIC:04X}.", "id_magic", low=16),
    )),
    *_pair("BUILD_ID", 0x008, "r", "`AccelConfig.build_id`; an image fits if it holds the same number."),
    Register("CONTROL", 0x010, "pulse", (
        Field("start", 1, "Writing 1 starts a run with the values of the registers below. Ignored while `busy` is 1, "
              "and after an error of memory or of the packet stream until `abort`.", "start"),
        Field("abort", 1, "Writing 1 ends a run and clears the error; `busy` stays 1 until the memory has answered "
              "every outstanding burst.", "abort", low=1),
    )),
    Register("STATUS", 0x014, "r", (
        Field("busy", 1, "A run or an abort is in progress; writing other registers than CONTROL is not allowed.",
              "busy"),
        Field("done", 1, "The last run has ended, with or without an error; 0 after an abort.", "done", low=1),
        Field("error", 5, "Why the run ended early: an error code, see below.", "error", low=8),
        Field("error_port", 2, "The memory port of a read or write error; 0 for other errors.", "error_port", low=16),
    )),
    Register("INTERRUPT", 0x018, "rw", (
        Field("enable", 1, "1: the output `irq` is high while `done` is 1.", "interrupt_enable"),
    )),
    *_pair("IMAGE_BASE", 0x020, "rw", "Byte address of the model image."),
    *_pair("KV_BASE", 0x028, "rw", "Byte address of slot 0 of the KV cache, on port 0."),
    *_pair("SLOT_STRIDE", 0x030, "rw", "Bytes from one KV slot to the next, on one port."),
    *_pair("KV_PORT_STRIDE", 0x038, "rw", "Bytes from the KV cache of one port to that of the next."),
    *_word("STREAM_OFFSET", 0x040, "rw", "Bytes from the image to the packets of the layers."),
    *_word("STREAM_BEATS", 0x044, "rw", "Beats of the packets of the layers."),
    *_word("LM_HEAD_OFFSET", 0x048, "rw", "Bytes from the image to the packets of the LM head."),
    *_word("LM_HEAD_BEATS", 0x04C, "rw", "Beats of the packet of the LM head, which a group of columns shares."),
    *_word("EMBED_OFFSET", 0x050, "rw", "Bytes from the image to the embedding table."),
    *_word("EMBED_STRIDE", 0x054, "rw", "Bytes from one row of the embedding table to the next."),
    *_word("ROPE_OFFSET", 0x058, "rw", "Bytes from the image to the RoPE table."),
    *_word("ROPE_STRIDE", 0x05C, "rw", "Bytes from one row of the RoPE table to the next."),
    *_pair("PROMPT_ADDRESS", 0x060, "rw", "Byte address of the prompt, one 32-bit token id after the other."),
    *_word("PROMPT_LENGTH", 0x068, "rw", "Tokens of the prompt, at least 1; in a batch: number of sequences."),
    *_word("START_POSITION", 0x06C, "rw",
           "Position of the first prompt token; the KV cache holds the positions before it."),
    *_word("SLOT", 0x070, "rw", "KV slot of the sequence.", 16),
    *_word("CHUNK", 0x074, "rw", "Prompt tokens that share a pass over the weights, 1 to the number of columns.", 7),
    *_word("MAX_NEW_TOKENS", 0x078, "rw", "Tokens to generate at most; in a batch: passes at most."),
    *_word("CONTEXT", 0x07C, "rw", "Positions that a slot holds."),
    *(r for n in range(MAX_END_IDS) for r in _word(
        f"END_ID_{n}", 0x080 + 4 * n, "rw", f"Token id that ends generation if END_COUNT is above {n}.")),
    *_word("END_COUNT", 0x090, "rw", "How many of the end ids are used, 0 to 4.", 3),
    *_word("LOGITS_MODE", 0x094, "rw", "Which rows of logits go to memory: 0 NONE; 1 LAST, "
           "those that choose a token; 2 ALL, those of every position that is fed; 3 BEST, the shortlists of those "
           "that choose a token, on a machine that makes them.", 2),
    *_pair("LOGITS_ADDRESS", 0x098, "rw", "Byte address of the logits, or of the shortlists; a multiple of the beat."),
    *_pair("TOKENS_ADDRESS", 0x0A0, "rw", "Byte address of the generated tokens, 32 bits each."),
    *_word("LOGITS_BEATS", 0x0A8, "rw", "Beats from one row of logits to the next, ceil(vocabulary * 4 / beat); from "
           "one shortlist to the next, ceil(528 / beat).", 24),
    *_word("BATCH", 0x0AC, "rw", "1: the run is a batch, see below.", 1),
    *_word("VOCABULARY", 0x0B0, "rw", "Number of token ids; those of the prompt must be below it."),
    *_word("LOGIT_SCALE", 0x0B4, "rw", "float32 of log2(e) / temperature, the scale of the logits in the sum of a "
           "shortlist; in a batch each entry has its own.", 31, option="shortlist"),
    *_word("HEAD_AGAIN", 0x0B8, "rw", "1: the run feeds nothing. The LM head runs again for the columns that chose a "
           "token in the last pass of the run before.", 1, option="shortlist"),
    *_word("GUARD", 0x0BC, "rw", "Standard deviations, times sqrt(24) * 256, between the high plane's logits and their "
           "bounds; 0: the run does not read the high plane.", GUARD_BITS, option="candidates"),
    *_word("TOKEN_COUNT", 0x0C0, "r", "Tokens generated so far and written to memory; 0 after an error."),
    *_word("LAST_TOKEN", 0x0C4, "r", "The last of the TOKEN_COUNT tokens.", held=True),
    *_word("ROWS_RESCORED", 0x0C8, "r",
           "Rows of the LM head whose exact logits the run computed behind the high plane.",
           option="candidates"),
    *_word("HEADS_REPEATED", 0x0CC, "r", "Tokens of the run for which the whole head was read behind its high plane.",
           option="candidates"),
    *_pair("READ_BASE", 0x0D0, "rw", f"First byte that may be read. {_PAGES}"),
    *_pair("READ_END", 0x0D8, "rw", f"First byte behind those that may be read. {_PAGES}"),
    *_pair("WRITE_BASE", 0x0E0, "rw", f"First byte that may be written. {_PAGES}"),
    *_pair("WRITE_END", 0x0E8, "rw", f"First byte behind those that may be written. {_PAGES}"),
    *_word("HIGH_OFFSET", 0x0F0, "rw", "Bytes from the image to the packet of the high plane.", option="candidates"),
    *_word("HIGH_BEATS", 0x0F4, "rw", "Beats of the packet of the high plane.", option="candidates"),
    *_word("ROWS_LISTED", 0x0F8, "r", "Rows that the high plane of the run did not rule out at once.",
           option="candidates"),
    *(r for n, (name, sentence) in enumerate(COUNTERS.items())
      for r in _pair(name.upper(), 0x100 + 8 * n, "r", sentence, COUNTER_BITS)),
)
"""All registers, by address."""


_BY_NAME = {register.name: register for register in REGISTERS}


def find(name: str) -> Register:
    """The register of that name. Raises KeyError."""
    return _BY_NAME[name]


def values(access: Access, config: AccelConfig | None = None) -> dict[str, int]:
    """Name and width of every value that belongs to registers of this access, without those of CONSTANTS; with a
    configuration, of those that its machine has."""
    widths: dict[str, int] = {}
    for register in REGISTERS:
        for field in register.fields if config is None or register.there(config) else ():
            if register.access == access and field.value not in CONSTANTS:
                widths[field.value] = max(widths.get(field.value, 0), field.value_low + field.bits)
    return widths


def registers_of(names: Iterable[str]) -> list[str]:
    """Registers that hold these values, in the order of the values, each once."""
    found = {register.name: None for name in names for register in REGISTERS
             if any(field.value == name for field in register.fields)}
    return list(found)


def encode(numbers: Mapping[str, int]) -> dict[str, int]:
    """Words of the registers, by name, that hold these values, by name. Raises ValueError for one that is too large."""
    words = dict.fromkeys(registers_of(numbers), 0)
    kept = dict.fromkeys(numbers, 0)
    for name in words:
        for field in find(name).fields:
            if field.value in numbers:
                part = numbers[field.value] >> field.value_low & (1 << field.bits) - 1
                words[name] |= part << field.low
                kept[field.value] |= part << field.value_low
    wrong = next((name for name in numbers if kept[name] != numbers[name]), None)
    if wrong is not None:
        raise ValueError(f"value {wrong} cannot be {numbers[wrong]}: its register has too few bits")
    return words


def decode(words: Mapping[str, int]) -> dict[str, int]:
    """Values, by name, that the words of these registers hold, by name. Inverse of `encode`."""
    found: dict[str, int] = {}
    for name, word in words.items():
        for field in find(name).fields:
            part = word >> field.low & (1 << field.bits) - 1
            found[field.value] = found.get(field.value, 0) | part << field.value_low
    return found


def register_table() -> str:
    """The table of the registers in docs/registers.md."""
    lines = ["| address | register | access | bits | field | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for register in REGISTERS:
        for n, field in enumerate(register.fields):
            high = field.low + field.bits - 1
            bits = f"{high}:{field.low}" if field.bits > 1 else f"{high}"
            head = f"0x{register.address:03X} | {register.name} | {register.access}" if n == 0 else "| |"
            held = " `held`." if register.held else ""
            held += f" Only with `AccelConfig.{register.option}`." if register.option else ""
            lines.append(f"| {head} | {bits} | {field.name} | {field.sentence}{held} |")
    return "\n".join(lines) + "\n"


def error_table() -> str:
    """The table of the error codes in docs/registers.md."""
    lines = ["| code | name | meaning |", "| --- | --- | --- |"]
    lines += [f"| {code.value} | {code.name} | {sentence[0].upper()}{sentence[1:]}. |"
              for code, sentence in ERROR_SENTENCES.items()]
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "registers.md"


def document() -> str:
    """The text of docs/registers.md with both tables."""
    program = "python -m hw.contract.register_map"
    page = with_table(DOCUMENT.read_text(), f"{program}: registers", register_table())
    return with_table(page, f"{program}: errors", error_table())


if __name__ == "__main__":
    DOCUMENT.write_text(document())
