"""Verilog wrapper for Vivado's block design: interface attributes, and port widths of the processing system."""

from __future__ import annotations

from hw.contract.config import AccelConfig
from hw.verilog import CLOCK, INTERRUPT, RESET, Port, VerilogModule

__all__ = ["PS_WIDTHS", "wrapper"]

ID_BITS, ADDRESS_BITS = 6, 49
PS_WIDTHS = {"arid": ID_BITS, "rid": ID_BITS, "awid": ID_BITS, "bid": ID_BITS, "araddr": ADDRESS_BITS,
             "awaddr": ADDRESS_BITS}
"""Widths of the S_AXI_HP ports of a Zynq UltraScale+ where they differ from ours: IDs and addresses get zeros in front,
and the processing system returns an ID as it came. Equal widths let Vivado connect the two without anything between."""


def _split(port: Port) -> tuple[str, str]:
    """Interface and member of an AXI pin: `m_axi_0_araddr` is `araddr` of `m_axi_0`."""
    interface, _, member = port.name.rpartition("_")
    return interface, member


def _width(port: Port) -> int:
    """Width of the wrapper's pin."""
    interface, member = _split(port)
    return PS_WIDTHS.get(member, port.width) if interface.startswith("m_axi") else port.width


def _parameters(config: AccelConfig, interface: str) -> str:
    """Value of the attribute X_INTERFACE_PARAMETER of an interface."""
    if not interface.startswith("m_axi"):
        return f"XIL_INTERFACENAME {interface}, PROTOCOL AXI4LITE, READ_WRITE_MODE READ_WRITE"
    return (
        f"XIL_INTERFACENAME {interface}, PROTOCOL AXI4, DATA_WIDTH {config.port_bits}, ADDR_WIDTH {ADDRESS_BITS}, "
        f"ID_WIDTH {ID_BITS}, READ_WRITE_MODE READ_WRITE, SUPPORTS_NARROW_BURST 0, "
        f"MAX_BURST_LENGTH {config.burst_beats}, NUM_READ_OUTSTANDING {config.outstanding}"
    )


def wrapper(module: VerilogModule, name: str) -> str:
    """Verilog of a module `name` around `module`, with clock, reset, interrupt and AXI pins only.

    The frequency is left out of the clock's attributes: the block design hands it over from the clock's source.
    """
    interfaces = dict.fromkeys(_split(port)[0] for port in module.ports if port.name not in (CLOCK, RESET, INTERRUPT))
    attributes = {
        CLOCK: ("xilinx.com:signal:clock:1.0", "CLK",
                f"XIL_INTERFACENAME {CLOCK}, ASSOCIATED_BUSIF {':'.join(interfaces)}, ASSOCIATED_RESET {RESET}"),
        RESET: ("xilinx.com:signal:reset:1.0", "RST", f"XIL_INTERFACENAME {RESET}, POLARITY ACTIVE_LOW"),
        INTERRUPT: ("xilinx.com:signal:interrupt:1.0", "INTERRUPT",
                    f"XIL_INTERFACENAME {INTERRUPT}, SENSITIVITY LEVEL_HIGH"),
    }
    pins, connections, padding, told = [], [], [], set()
    for port in module.ports:
        if port.name in attributes:
            kind, member, parameters = attributes[port.name]
            interface = port.name
        else:
            interface, member = _split(port)
            kind = "xilinx.com:interface:aximm:1.0"
            parameters = "" if interface in told else _parameters(module.config, interface)
        told.add(interface)
        if parameters:
            pins.append(f'    (* X_INTERFACE_PARAMETER = "{parameters}" *)')
        pins.append(f'    (* X_INTERFACE_INFO = "{kind} {interface} {member.upper()}" *)')
        width = _width(port)
        shape = f"[{width - 1}:0] " if width > 1 else ""
        pins.append(f"    {port.direction} wire {shape}{port.name},")
        part = f"[{port.width - 1}:0]" if width > port.width else ""
        connections.append(f"        .{port.name}({port.name}{part}),")
        if part and port.direction == "output":
            padding.append(f"    assign {port.name}[{width - 1}:{port.width}] = 0;")
    pins[-1], connections[-1] = pins[-1].rstrip(","), connections[-1].rstrip(",")
    return "\n".join((
        f"/* bitnet-fpga: {module.name} for a block design of Vivado, configuration {module.config.name} */",
        f"module {name} (", *pins, ");", *padding,
        f"    {module.name} core (", *connections, "    );", "endmodule", "",
    ))
