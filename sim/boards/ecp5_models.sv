// What of an ECP5 stands between the SDRAM controller and the pins: ideal, without delays of its own.

module OFS1P3BX(input D, input SP, input SCLK, input PD, output reg Q);
  always @(posedge SCLK) if (SP) Q <= D;
endmodule

module IFS1P3BX(input D, input SP, input SCLK, input PD, output reg Q);
  always @(posedge SCLK) if (SP) Q <= D;
endmodule

module OFS1P3DX(input D, input SP, input SCLK, input CD, output reg Q);
  always @(posedge SCLK) if (SP) Q <= D;
endmodule

module FD1S3AX(input D, input CK, output reg Q);
  always @(posedge CK) Q <= D;
endmodule

module FD1S3BX(input D, input CK, input PD, output reg Q);
  always @(posedge CK or posedge PD) if (PD) Q <= 1; else Q <= D;
endmodule

module TRELLIS_IO #(parameter DIR = "BIDIR") (inout B, input I, input T, output O);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

module OB(input I, output O);
  assign O = I;
endmodule

module OBZ(input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

module IB(input I, output O);
  assign O = I;
endmodule

// Amaranth gives D0 to the rising edge.
module ODDRX1F(input SCLK, input RST, input D0, input D1, output Q);
  assign Q = SCLK ? D0 : D1;
endmodule

// Without a phase all outputs rise at once.
module pll_output #(parameter real VCO_NS = 1, parameter DIV = 8, parameter CPHASE = 0, parameter FPHASE = 0) (
  output reg Q
);
  initial begin
    Q = 0;
    #(100.0 + VCO_NS * (CPHASE + 1 - DIV + FPHASE / 8.0)) forever begin
      Q = 1;
      #(VCO_NS * DIV / 2) Q = 0;
      #(VCO_NS * DIV / 2);
    end
  end
endmodule

module EHXPLLL #(
  parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter FEEDBK_PATH = "CLKOP",
  parameter CLKOP_ENABLE = "ENABLED", parameter CLKOP_DIV = 8, parameter CLKOP_CPHASE = 0, parameter CLKOP_FPHASE = 0,
  parameter CLKOS_ENABLE = "ENABLED", parameter CLKOS_DIV = 8, parameter CLKOS_CPHASE = 0, parameter CLKOS_FPHASE = 0,
  parameter CLKOS2_ENABLE = "ENABLED", parameter CLKOS2_DIV = 8, parameter CLKOS2_CPHASE = 0, parameter CLKOS2_FPHASE = 0,
  parameter OUTDIVIDER_MUXA = "DIVA", parameter OUTDIVIDER_MUXB = "DIVB", parameter OUTDIVIDER_MUXC = "DIVC",
  parameter OUTDIVIDER_MUXD = "DIVD"
) (
  input CLKI, input CLKFB, input RST, input STDBY, input PHASESEL0, input PHASESEL1, input PHASEDIR, input PHASESTEP,
  input PHASELOADREG, input PLLWAKESYNC, input ENCLKOP, input ENCLKOS, input ENCLKOS2, input ENCLKOS3,
  output CLKOP, output CLKOS, output CLKOS2, output reg LOCK
);
  localparam real VCO_NS = 40.0 * CLKI_DIV / CLKFB_DIV / CLKOP_DIV;  // of a crystal of 25 MHz
  pll_output #(VCO_NS, CLKOP_DIV, CLKOP_CPHASE, CLKOP_FPHASE) op(CLKOP);
  pll_output #(VCO_NS, CLKOS_DIV, CLKOS_CPHASE, CLKOS_FPHASE) os(CLKOS);
  pll_output #(VCO_NS, CLKOS2_DIV, CLKOS2_CPHASE, CLKOS2_FPHASE) os2(CLKOS2);
  initial begin
    LOCK = 0;
    #500 LOCK = 1;
  end
endmodule
