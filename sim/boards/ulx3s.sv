// The ULX3S with its design: crystal, SDRAM chip, serial line. +image=FILE: what the memory holds, words of 16 bit in
// hex.

`timescale 1ns / 1ps

module bench(input rx, output tx, output ready);
  reg clk25 = 0;
  wire sdram_clk, cke, cs_n, ras_n, cas_n, we_n;
  wire [12:0] a;
  wire [1:0] ba, dm;
  wire [15:0] dq;
  string image;
  always #20 clk25 = ~clk25;
  initial begin
    #1 if ($value$plusargs("image=%s", image)) $readmemh(image, chip.mem);
  end
  sdr_chip chip(.clk(sdram_clk), .cke, .cs_n, .ras_n, .cas_n, .we_n, .a, .ba, .dm, .dq);
  top top(
    .clk25_0__io(clk25), .sdram_0__clk__io(sdram_clk), .sdram_0__clk_en__io(cke), .sdram_0__cs__io(cs_n),
    .sdram_0__ras__io(ras_n), .sdram_0__cas__io(cas_n), .sdram_0__we__io(we_n), .sdram_0__a__io(a),
    .sdram_0__ba__io(ba), .sdram_0__dqm__io(dm), .sdram_0__dq__io(dq), .uart_0__rx__io(rx), .uart_0__tx__io(tx),
    .led_0__io(ready)
  );
endmodule
