// Copies and reads in front of sdr_chip, as tests/boards/memory/copier_top.py lets itself be told. The last line says PASS, or
// what went wrong.

`timescale 1ns / 1ps

module traffic(
  input clk, input ready, input done, input failed, output reg start, output reg [39:0] source,
  output reg [39:0] destination, output reg [31:0] chunks, output reg [7:0] strobe,
  output reg read, output reg read_start, input read_valid, input [63:0] read_data
);
  localparam int CHUNK_WORDS = 32 * 4;
  int clocks;
  reg [15:0] expected [0:(1 << 24) - 1];
  always @(posedge clk) clocks <= clocks + 1;

  // Both addresses in words, chunk by chunk; whole areas are compared, and all that must not change.
  task automatic copy(input int from, input int to, input int count, input [7:0] bytes);
    int begun;
    for (int n = 0; n < 1 << 24; n++) expected[n] = bench.chip.mem[n];
    for (int n = 0; n < count * CHUNK_WORDS; n++) for (int lane = 0; lane < 2; lane++)
      if (bytes[(n * 2 + lane) % 8]) expected[to + n][8 * lane +: 8] = expected[from + n][8 * lane +: 8];
    source = 40'(2 * from); destination = 40'(2 * to); chunks = count; strobe = bytes;
    @(posedge clk) start <= 1;
    @(posedge clk) start <= 0;
    begun = clocks;
    @(posedge clk);
    while (!done) begin
      @(posedge clk);
      if (clocks - begun > 100 * CHUNK_WORDS * count) begin
        $display("the copy from word %0d does not end", from);
        $finish;
      end
    end
    if (failed) begin
      $display("the copy from word %0d ended with an error", from);
      $finish;
    end
    for (int n = 0; n < 1 << 24; n++) if (bench.chip.mem[n] != expected[n]) begin
      $display("word %0d is %h and should be %h", n, bench.chip.mem[n], expected[n]);
      $finish;
    end
    $display("copied %0d words in %0d clocks", count * CHUNK_WORDS, clocks - begun);
  endtask

  // Beats as fast as they come, from the first to the last; all of them are compared.
  task automatic read_all(input int from, input int beats);
    int begun, ended, n;
    n = 0;
    source = 40'(2 * from); chunks = beats; read = 1;
    @(posedge clk) read_start <= 1;
    @(posedge clk) read_start <= 0;
    while (n < beats) begin
      @(posedge clk);
      if (read_valid) begin
        if (n == 0) begun = clocks;
        ended = clocks;
        for (int word = 0; word < 4; word++)
          if (read_data[16 * word +: 16] != bench.chip.mem[from + 4 * n + word]) begin
            $display("beat %0d of the read is %h", n, read_data);
            $finish;
          end
        n = n + 1;
      end
    end
    read = 0;
    $display("read %0d bytes in %0d clocks", 8 * (beats - 1), ended - begun);
  endtask

  initial begin
    start = 0; read = 0; read_start = 0;
    while (!ready) @(posedge clk);
    copy(0, 8192, 32, 8'hff);
    copy(511 * 128, 12345 * 128, 8, 8'h5a);
    copy(131071 * 128 - 31 * 128, 777 * 128, 32, 8'hff);
    read_all(3 * 4096, 16384);
    $display("longest time between refreshes: %0.1f ns", bench.chip.longest_gap);
    if (bench.chip.longest_gap > 2 * 7812.5 + 1000) $display("refreshes are late");
    else $display("PASS");
    $finish;
  end
endmodule

module bench;
  reg clk25 = 0;
  wire sdram_clk, cke, cs_n, ras_n, cas_n, we_n;
  wire [12:0] a;
  wire [1:0] ba, dm;
  wire [15:0] dq;
  always #20 clk25 = ~clk25;
  sdr_chip chip(.clk(sdram_clk), .cke, .cs_n, .ras_n, .cas_n, .we_n, .a, .ba, .dm, .dq);
  top top(
    .clk25_0__io(clk25), .sdram_0__clk__io(sdram_clk), .sdram_0__clk_en__io(cke), .sdram_0__cs__io(cs_n),
    .sdram_0__ras__io(ras_n), .sdram_0__cas__io(cas_n), .sdram_0__we__io(we_n), .sdram_0__a__io(a),
    .sdram_0__ba__io(ba), .sdram_0__dqm__io(dm), .sdram_0__dq__io(dq)
  );
endmodule
