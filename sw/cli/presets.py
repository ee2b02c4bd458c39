"""`bitnet-fpga presets`: list the presets, or show one with what follows from it."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from boards.board import AnyBoard
    from hw.contract.config import AccelConfig
    from hw.inventory import Inventory

__all__ = ["presets"]

ESTIMATE = ("estimate: memories of {words} words or more, each as the least number of primitives whose shapes cover "
            "it, per read port; LUTs and routing are not estimated")

WIDTH = 80
"""Characters of a line."""


def _row(config: AccelConfig) -> dict[str, Any]:
    """JSON of one line of the list: what follows from the fields alone."""
    return {
        "preset": config.name, "build_id": f"{config.build_id:016x}", "ports": config.ports,
        "port_bits": config.port_bits, "lanes": config.lanes, "columns": config.columns,
        "ternary_macs_per_clock": config.lanes * config.columns,
        "largest_model": {
            "hidden_size": config.max_hidden, "intermediate_size": config.max_intermediate,
            "vocab_size": config.max_vocab, "head_dim": config.max_head_dim,
            "query_heads_per_kv_head": config.max_group, "positions": config.max_positions,
        },
    }


def _engines(config: AccelConfig) -> dict[str, int]:
    """Elements, or products, per clock of each engine."""
    return {
        "array, ternary MACs": config.lanes * config.columns,
        "LM head, int8 products": config.stream_bytes,
        "attention, products of cached elements": config.kv_elements * config.query_rows,
        "softmax, query rows": config.softmax_lanes,
        "norm and gated FFN, elements": config.vector,
        "quantise, elements": config.quantize_lanes,
    }


def _memories(design: Inventory) -> dict[str, Any]:
    """JSON of the memories. On an FPGA without UltraRAM, block RAM holds all of them."""
    from hw.inventory import LUT_DEPTH

    large = design.block_memories
    ultra = [one for one in large if one.ultra_ram]
    block = [one for one in large if not one.ultra_ram]

    def bits(*kinds: list[Any]) -> int:
        return sum(one.bits for kind in kinds for one in kind)

    return {
        "with_ultra_ram": {
            "block_ram_bits": bits(block), "ultra_ram_bits": bits(ultra),
            "RAMB36": sum(one.primitives("RAMB36") for one in block),
            "URAM288": sum(one.primitives("URAM288") for one in ultra),
        },
        "without_ultra_ram": {
            "block_ram_bits": bits(block, ultra),
            "RAMB36": sum(one.primitives("RAMB36") for one in large),
            "DP16KD": sum(one.primitives("DP16KD") for one in large),
        },
        "lut_bits": bits([one for one in design.memories if one.depth < LUT_DEPTH]),
        "how": ESTIMATE.format(words=LUT_DEPTH),
    }


def _fit(board: AnyBoard, config: AccelConfig, design: Inventory) -> dict[str, Any]:
    """JSON: whether a board takes the configuration, and if not, why."""
    from hw.contract.config import ConfigError

    try:
        use = board.with_config(config).ram_use(design)
    except ConfigError as error:
        return {"board": board.name, "fits": False, "why": str(error), "ram": None}
    lacking = [f"{name}: {used:g} needed, {available} there" for name, (used, available) in use.items()
               if used > available]
    return {"board": board.name, "fits": not lacking, "why": "; ".join(lacking) or None,
            "ram": {name: {"estimated": used, "available": available} for name, (used, available) in use.items()}}


def _describe(config: AccelConfig, known: Mapping[str, AnyBoard], absent: Mapping[str, str]) -> dict[str, Any]:
    """JSON of one configuration. The design is elaborated."""
    from hw.inventory import inventory
    from sw.cli.progress import console

    with console().status(f"elaborating {config.name}"):
        design = inventory(config)
    return {
        **_row(config), "design_hash": config.design_hash, "fields": dataclasses.asdict(config),
        "per_clock": _engines(config), "memories": _memories(design),
        "multipliers": {"all": sum(design.multiplications.values()),
                        "by_widths": {f"{a}x{b}": count for (a, b), count in design.multiplications.items()}},
        "boards": [*(_fit(board, config, design) for board in known.values()),
                   *({"board": name, "fits": None, "why": why, "ram": None} for name, why in absent.items())],
    }


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Text of `_describe`, for 80 columns."""
    largest, memories = found["largest_model"], found["memories"]
    yield f"preset {found['preset']}, build {found['build_id']}"
    yield f"memory ports   {found['ports']} of {found['port_bits']} bits"
    yield f"array          {found['lanes']} lanes in {found['columns']} columns: " \
          f"{found['ternary_macs_per_clock']:,} ternary MACs per clock"
    yield "largest model  " + f"hidden {largest['hidden_size']:,}, FFN {largest['intermediate_size']:,}, vocabulary " \
          f"{largest['vocab_size']:,},"
    yield f"               heads of {largest['head_dim']}, {largest['query_heads_per_kv_head']} query heads per KV " \
          f"head, {largest['positions']:,} positions;"
    yield "               layers as many as the memory holds (see `bitnet-fpga plan`)"
    yield "per clock"
    for what, count in found["per_clock"].items():
        yield f"  {what:<42} {count:>10,}"
    yield f"multipliers      {found['multipliers']['all']:>37,}"
    yield "  by operand bits: " + ", ".join(f"{count} of {widths}" for widths, count in
                                             found["multipliers"]["by_widths"].items())
    ultra, plain = memories["with_ultra_ram"], memories["without_ultra_ram"]
    yield "memories, with UltraRAM (UltraScale+)"
    yield f"  block RAM  {ultra['block_ram_bits']:>12,} bits, about {ultra['RAMB36']:g} RAMB36"
    yield f"  UltraRAM   {ultra['ultra_ram_bits']:>12,} bits, about {ultra['URAM288']:g} URAM288"
    yield "memories, without UltraRAM"
    yield f"  block RAM  {plain['block_ram_bits']:>12,} bits, about {plain['RAMB36']:g} RAMB36, or " \
          f"{plain['DP16KD']:g} DP16KD of an ECP5"
    yield f"memories in LUTs {memories['lut_bits']:,} bits"
    yield "boards"
    for board in found["boards"]:
        state = {True: "fits", False: "does not fit", None: "unknown"}[board["fits"]]
        ram = ", ".join(f"about {one['estimated']:g} of {one['available']} {name}"
                        for name, one in (board["ram"] or {}).items())
        yield f"  {board['board']:<11} {state}: {board['why'] or ram}"
    yield memories["how"]


def presets(
    preset_name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="Preset to show, or TOML file of a "
                                                      "configuration; default: list all presets.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the presets, or show one: lanes, memories, multipliers, the largest model, and the boards that it fits.

    Numbers of RAM primitives are estimates from the memories of the design.
    """
    from hw.contract.config import PRESETS
    from hw.contract.preset_file import find_preset
    from sw.cli.boards import known_boards

    config = None if preset_name is None else find_preset(preset_name)
    known, absent = known_boards()
    if config is not None:
        found = _describe(config, known, absent)
        print(json.dumps(found, indent=2) if as_json else "\n".join(
            textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in _lines(found)))
        return
    rows = [{**_row(one), "boards": [name for name, board in known.items() if board.config.build_id == one.build_id]}
            for one in PRESETS.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'preset':<10}{'ports':>6}{'MACs':>7}{'hidden':>7}{'FFN':>7}{'vocab':>8}{'context':>8}  boards")
    for row in rows:
        largest, ports = row["largest_model"], f"{row['ports']}x{row['port_bits']}"
        print(f"{row['preset']:<10}{ports:>6}{row['ternary_macs_per_clock']:>7,}{largest['hidden_size']:>7,}"
              f"{largest['intermediate_size']:>7,}{largest['vocab_size']:>8,}{largest['positions']:>8,}  "
              f"{', '.join(row['boards']) or '-'}")
    print("MACs: ternary, per clock. hidden to context: the largest model.")
    for name, why in absent.items():
        print(f"board {name}: {why}")
