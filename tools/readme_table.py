"""The tables of measured results in README.md: `python -m tools.readme_table` (`make readme`) writes them.

Every number is read from a committed file of docs/results, and nowhere else; tests/test_readme.py compares README.md
with what this file makes of them today.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from boards.kv260 import KV260
from hw.contract.tables import with_table
from sw.whole_file import whole_file

__all__ = ["README", "markdown"]

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results"
BOARDS = {"ulx3s": "ULX3S 85F", "ecpix5": "ECPIX-5 85F", "orangecrab": "OrangeCrab 85F", "ulx3s-bram": "`ulx3s-bram`"}
"""Names in the README by those of the command line."""
SIMULATED = {"ulx3s": "ulx3s", "ecpix5": "ecpix5", "orangecrab": "ecpix5", "ulx3s-bram": "ulx3s-bram"}
"""The board whose simulated clocks count for a board. The OrangeCrab has the ECPIX-5's design, with another chip."""
BOARD_TESTS = {
    "ecpix5": "tests/boards/test_ddr3_board.py::test_runs_a_model_over_the_serial_line[demo]",
    "ulx3s-bram": "tests/boards/test_block_ram_board.py::test_runs_a_model_over_the_serial_line[demo]",
}
BAUD = 1_000_000
"""Of every board here."""
KV260_MHZ = KV260.clock_hz / 1e6


def bitstreams() -> dict[str, dict[str, Any]]:
    """By the board's name: clock of the accelerator reached and needed in MHz, shares of the FPGA."""
    found = {}
    for name, report in json.loads((RESULTS / "boards.json").read_text()).items():
        (clock,) = (one for net, one in report["clocks"].items() if net.startswith("accelerator."))
        share = {kind: f"{100 * one['used'] // one['available']} %" for kind, one in report["resources"].items()}
        found[name] = {"reached": clock["fmax_mhz"], "needed": clock["required_mhz"],
                       "share": f"{share['lut']}, {share['block_ram']}, {share['dsp']}"}
    return found


def clocks_per_position(measured: dict[str, Any]) -> dict[str, int]:
    """Of the demo model on whole simulated boards."""
    found = {"ulx3s": round(measured["runs"]["ulx3s"]["stats"]["cycles_per_token"])}
    for name, test in BOARD_TESTS.items():
        values = measured["tests"][test]
        found[name] = round(values["clocks"] / values["positions"])
    return found


def positions(measured: dict[str, Any]) -> dict[str, int]:
    """Positions that were fed in each simulated run: the divisor of its clocks."""
    found = {name: run["stats"]["positions_fed"] for name, run in measured["runs"].items()}
    return found | {name: measured["tests"][test]["positions"] for name, test in BOARD_TESTS.items()}


def rows(measured: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What, value, command or file."""
    runs = {name: run["stats"] for name, run in measured["runs"].items()}
    tiny, per_token = runs["tiny"], {name: f"{round(stats['cycles_per_token']):,}" for name, stats in runs.items()}
    share = {name: f"{100 * clocks / tiny['cycles']:.0f} %" for name, clocks in tiny["busy_cycles"].items()}
    command = {name: f"`{run['command']}`" for name, run in measured["runs"].items()}
    drawn = (runs["tiny, drawn"]["cycles"] - tiny["cycles"]) / tiny["new_tokens"]
    tests, found = measured["tests"], {}
    for name, values in tests.items():
        found[re.sub(r".*/(\w+)\.py::\w+", r"\1", name)] = values
    line = found["test_bandwidth[0.001]"]
    slow, quick = found["test_exchanges[0.05-0.016]"], found["test_exchanges[0.05-0.001]"]
    area = json.loads((RESULTS / "same-machine.json").read_text())["found"]["tiny, area"]
    passed = json.loads((RESULTS / "tests.json").read_text())
    boards = [
        (f"{BOARDS[name]} bitstream: highest clock after routing, clock of the board; LUTs, block RAMs, DSPs in use",
         f"{one['reached']:g} MHz, {one['needed']:g} MHz; {one['share']}", f"`make bitstream BOARD={name}`")
        for name, one in bitstreams().items()
    ]
    serial, fed = clocks_per_position(measured), positions(measured)
    return [
        (f"demo model on `tiny`: clocks per position, mean of {fed['tiny']} positions ({tiny['prompt_tokens']} prompt "
         f"tokens and {tiny['new_tokens']} new ones; the last one is not fed)", per_token["tiny"], command["tiny"]),
        ("of these clocks: packet stream consumed, attention, LM head (which also consumes the packet stream)",
         f"{share['stream']}, {share['attention']}, {share['lm_head']}", "same"),
        ("the same on `medium`, on `kv260`", f"{per_token['medium']}, {per_token['kv260']}",
         "same with `--preset medium`, `--preset kv260`"),
        ("the same text on `tiny`, sampled with top-k 1: additional clocks per new token", f"{drawn:.0f}",
         "same with `--temperature 1 --top-k 1`"),
        ("`tiny` mapped by Yosys for UltraScale+: LUTs, flip-flops", f"{area['LUT']:,.0f}, {area['FF']:,.0f}",
         "`python -m tools.same_machine record`"),
        *boards,
        (f"demo model on the simulated ULX3S: clocks per position, mean of {fed['ulx3s']} positions",
         f"{serial['ulx3s']:,}", command["ulx3s"]),
        *((f"demo model on the simulated {what}: clocks per position, mean of {fed[name]} positions",
           f"{serial[name]:,}", "`make measured`")
          for name, what in (("ecpix5", "ECPIX-5, with a model of PHY and chip"), ("ulx3s-bram", "`ulx3s-bram`"))),
        ("ULX3S SDRAM, simulated with controller and pads: bytes per clock of 4 possible, sequential reads",
         f"{found['test_sdr_chip[4]']['bytes_per_clock']:.2f}", "`make measured`"),
        ("ECPIX-5 DDR3, simulated with controller: bytes per clock of 8 possible, sequential reads; clocks from reset "
         "to the end of training", f"{found['test_ddr3_controller']['bytes_per_clock']:.2f}; "
         f"{found['test_ddr3_controller']['clocks_to_ready']:,}", "`make measured`"),
        ("serial link: share of the bit rate in use, writing, reading",
         f"{100 * line['write']:.1f} %, {100 * line['read']:.1f} %", "`make measured`"),
        ("one sampled token of a model with a vocabulary of 33, 50 ms of computing, over a serial line of 3 Mbaud: "
         "exchanges; time with a USB latency of 16 ms, of 1 ms",
         f"{slow['exchanges']:.2f}; {slow['ms']} ms, {quick['ms']} ms", "`make measured`"),
        ("tests: passed; time of all, on 2 cores", f"{passed['outcomes']['passed']:,}; {passed['wall_s']:,} s",
         "`make test-all`"),
    ]


def projection(measured: dict[str, Any]) -> list[str]:
    """Tokens per second and time to load, for boards."""
    serial, needed = clocks_per_position(measured), bitstreams()
    bandwidth = measured["tests"]["tests/hw/serial_link/test_bandwidth.py::test_bandwidth[0.001]"]
    bytes_per_s = BAUD / 10 * bandwidth["write"]
    fed = positions(measured)
    lines = ["| board | clock | simulated: clocks per position | mean of positions | projected: tokens/s | image | "
             "projected: load time |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, title in BOARDS.items():
        mhz, clocks, image = needed[name]["needed"], serial[SIMULATED[name]], measured["images"][name]["bytes"]
        lines.append(f"| {title} | {mhz:g} MHz | {clocks:,} | {fed[SIMULATED[name]]} | {1e6 * mhz / clocks:,.0f} | "
                     f"{image:,} bytes | {image / bytes_per_s:.1f} s |")
    return lines


def performance() -> list[str]:
    """The results of `make bench`, a column for each preset with a memory; nothing before the first."""
    file = RESULTS / "performance.json"
    record: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    found = [performance_rows(one) for one in record.values()]
    if not found:
        return []
    names = list(dict.fromkeys(name for rows in found for name in rows))
    made = ", ".join(dict.fromkeys(f"{one['made']['date']}, commit {one['made']['commit']}" for one in record.values()))
    return [
        "From one and two layers in simulation, as wide as those of bitnet-b1.58-2B-4T, or as the largest ones that a",
        "smaller preset can run. Rows with *projected* are calculated: 30 layers and the whole LM head.", "",
        f"| preset, memory | {' | '.join(f'`{name}`' for name in record)} |",
        f"| --- |{' ---: |' * len(found)}",
        *(f"| {name} | {' | '.join(rows.get(name, '') for rows in found)} |" for name in names), "",
        f"`make bench`, {made}: [performance.json](docs/results/performance.json).", "",
        *speeds(record),
    ]


def speeds(record: dict[str, dict[str, Any]]) -> list[str]:
    """Projected tokens per second of bitnet-b1.58-2B-4T on the KV260 beside what others measured."""
    projected = [
        (f"this project, *projected*: {mhz:g} MHz, {memory}{head}", "KV260", "bitnet-b1.58-2B-4T", *row)
        for name, head in (("kv260", ""), ("kv260-split", ", split head"))
        for memory, mhz in (("ideal", KV260_MHZ), ("ddr4-2133", 250.0), ("ddr4-2400", 250.0))
        if f"{name}, {memory}" in record for row in projected_speeds(record[f"{name}, {memory}"], mhz)
    ]
    others = [
        (f"{one['system']}: {one['source']}", one["board"], one["model"], one["context"],
         *(format(speed, "g") if speed else "" for speed in (one["decode_tokens_per_s"], one["prefill_tokens_per_s"])))
        for one in json.loads((RESULTS / "peers.json").read_text())
    ]
    if not projected:
        return []
    return [
        "Tokens per second of a whole model: the clock divided by the projected clocks per token, or by 30 times the",
        "clocks of a layer per token of the prompt, and the LM head once. The figures of others were measured on their",
        "hardware.", "",
        *([f"At the {KV260_MHZ:g} MHz of the board file, the four ports carry 12.8 GB/s, which is less than the DRAM",
           "does, so the clocks are those with `ideal`.", ""] if "kv260, ideal" in record else []),
        "| system | board | model | cached positions | decode, tokens/s | prefill, tokens/s |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        *(f"| {' | '.join(row)} |" for row in (*projected, *others)), "",
    ]


def projected_speeds(one: dict[str, Any], mhz: float) -> list[tuple[str, str, str]]:
    """Cached positions, or tokens of a prompt; tokens per second of decode; of prefill."""
    tokens = {cached: decode["projection"] for cached, decode in one["decode"].items()}
    tokens |= one.get("split_head", {}).get("projection", {})
    rows = [(f"{int(cached):,}", f"{1e6 * mhz / token['cycles_per_token']:.1f}", "")
            for cached, token in tokens.items()]
    head = next(iter(one["decode"].values()))["projection"]["lm_head_cycles"]
    for prompt, prefill in one["prefill"].items():
        cycles = one["model"]["layers"] * prefill["layer_cycles"] + head
        rows.append((f"prompt of {int(prompt):,}: first token after {cycles / mhz / 1e6:.2f} s", "",
                     f"{1e6 * mhz * int(prompt) / cycles:.0f}"))
    return rows


def performance_rows(one: dict[str, Any]) -> dict[str, str]:
    """The figures of a preset with a memory, by what they are."""
    attend, norms, model = one["attend"], one["norm_cycles_per_layer"], one["model"]
    rows = {"model: hidden, FFN, heads, KV heads, head size": ", ".join(
        f"{model[name]:,}" for name in ("hidden", "intermediate", "heads", "kv_heads", "head_dim"))}
    for cached, decode in one["decode"].items():
        rows[f"stream efficiency of a layer behind {int(cached):,} positions"] = f"{decode['layer_efficiency']:.3f}"
        rows[f"stream efficiency of a token behind {int(cached):,} positions, *projected*"] = (
            f"{decode['projection']['stream_efficiency']:.3f}")
    rows |= {
        "ATTEND: clocks per position and layer": f"{attend['cycles_per_position_and_layer']:.1f}",
        "ATTEND at one position: clocks per layer": f"{attend['cycles_at_one_position']:,}",
        "norms and quantisation: clocks per layer, one token": f"{norms['decode']:,}",
        "the same for a chunk of all columns": f"{norms['chunk']:,}",
    }
    for prompt, prefill in one["prefill"].items():
        estimated = ", *estimated* from pieces of it" if len(prefill["cycles_by_first_position"]) > 1 else ""
        rows[f"array utilization, prompt of {int(prompt):,}{estimated}"] = f"{prefill['array_utilization']:.3f}"
    for number, batch in one.get("batch", {}).items():
        what = f"{number} sequences behind {batch['cached']:,} positions: tokens/s against one, *projected*"
        rows[what] = f"{batch['projection']['speedup']:.2f}"
    if split := one.get("split_head"):
        rows[f"LM head of {model['vocab']:,} random rows, full and split: clocks"] = ", ".join(
            f"{split[kind]['lm_head_cycles']:,}" for kind in ("full", "split")) + (
            f" with {split['split']['rows_rescored']:,} rescored")
    return rows | {
        "demo model: clocks per position": f"{one['demo']['cycles_per_position']:,.0f}",
        "simulated clocks per second, with other jobs beside it": f"{one['simulated_cycles_per_second']:,.0f}",
    }


def markdown() -> str:
    """The text of README.md with the tables of today."""
    measured = json.loads((RESULTS / "measured.json").read_text())
    made, text = measured["made"], README.read_text()
    lines = [
        "| measured | value | command |", "| --- | --- | --- |",
        *(f"| {what} | {value} | {how} |" for what, value, how in rows(measured)), "",
        "Projected speed of the demo model on boards, calculated and not measured: the clock of the board divided by",
        "the simulated clocks per position, and the time to load the image at 1 Mbaud. Later positions take more",
        "clocks, because attention reads more of the KV cache. The OrangeCrab runs the same accelerator as the",
        "ECPIX-5, so the simulated clocks of the ECPIX-5 are used for both.", "",
        *projection(measured), "",
        *performance(),
        f"Simulated numbers: `{made['command']}`, {made['date']}, commit {made['commit']}. Bitstreams:",
        "[boards.md](docs/results/boards.md). Tests: [tests.md](docs/results/tests.md). Area:",
        "[same-machine.json](docs/results/same-machine.json).",
    ]
    return with_table(text, "make readme", "\n".join(lines) + "\n")


def main() -> None:
    """Writes README.md."""
    text = markdown()
    with whole_file(README) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
