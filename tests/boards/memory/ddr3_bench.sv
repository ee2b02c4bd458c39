// Copies and reads in front of LiteDRAM's controller and its model of a DDR3 chip, as tests/boards/memory/copier_top.py
// lets itself be told. +expected=FILE has the first beats of the memory. The last line says PASS, or what went wrong.

`timescale 1ns / 1ps

module traffic(
  input clk, input ready, input done, input failed, output reg start, output reg [39:0] source,
  output reg [39:0] destination, output reg [31:0] chunks, output reg [7:0] strobe,
  output reg read, output reg read_start, input read_valid, input [63:0] read_data
);
  localparam int BEATS = 1 << 17, CHUNK_BEATS = 32, COPIES = 200;
  int clocks = 0, seed = 1;
  string name;
  reg [63:0] expected [0:BEATS - 1];
  always @(posedge clk) clocks <= clocks + 1;

  function automatic int choose(input int below);
    return int'($urandom(seed) % below);
  endfunction

  task automatic fail(input string what);
    $display("after %0d clocks: %s", clocks, what);
    $finish;
  endtask

  task automatic copy(input int from, input int to, input int count, input [7:0] bytes);
    int begun;
    source = 40'(8 * from); destination = 40'(8 * to); chunks = count; strobe = bytes;
    @(posedge clk) start <= 1;
    @(posedge clk) start <= 0;
    begun = clocks;
    @(posedge clk);
    while (!done) begin
      @(posedge clk);
      if (clocks - begun > 100 * CHUNK_BEATS * count) fail("a copy does not end");
    end
    if (failed) fail("a copy ended with an error");
    for (int n = 0; n < count * CHUNK_BEATS; n++) for (int lane = 0; lane < 8; lane++)
      if (bytes[lane]) expected[to + n][8 * lane +: 8] = expected[from + n][8 * lane +: 8];
  endtask

  // All beats as fast as they come. With `adopt`, those that the memory's own test has written count as they are.
  task automatic read_all(input reg adopt);
    int begun, ended, n, word, adopted;
    adopted = 0;
    source = 0; chunks = BEATS; read = 1;
    @(posedge clk) read_start <= 1;
    @(posedge clk) read_start <= 0;
    begun = clocks;
    n = 0;
    while (n < BEATS) begin
      @(posedge clk);
      if (clocks - begun > 10 * BEATS) fail("a read does not end");
      if (read_valid) begin
        if (n == 0) begun = clocks;
        ended = clocks;
        word = n / 2;
        if (adopt && (word & (word - 1)) == 0) begin
          if (expected[n] != read_data) adopted++;
          expected[n] = read_data;
        end
        if (read_data != expected[n]) fail($sformatf("beat %0d is %h and should be %h", n, read_data, expected[n]));
        n++;
      end
    end
    read = 0;
    $display("read %0d bytes in %0d clocks", 8 * (BEATS - 1), ended - begun);
    if (adopt && adopted != 2 * 17) fail($sformatf("the memory's test has written %0d beats", adopted));
  endtask

  initial begin
    start = 0; read = 0; read_start = 0;
    if (!$value$plusargs("expected=%s", name)) fail("no +expected");
    $readmemh(name, expected);
    while (!ready) begin
      @(posedge clk);
      if (clocks > 200000) fail("the memory is not ready");
    end
    $display("ready after %0d clocks", clocks);
    read_all(1);
    for (int n = 0; n < COPIES; n++) begin
      automatic int count = 1 + choose(8);
      automatic int from = choose(BEATS - count * CHUNK_BEATS), to = choose(BEATS - count * CHUNK_BEATS);
      if (from - to >= count * CHUNK_BEATS || to - from >= count * CHUNK_BEATS)
        copy(from, to, count, choose(2) == 0 ? 8'hff : 8'(choose(256)));
    end
    read_all(0);
    $display("PASS");
    $finish;
  end
endmodule

module bench;
  reg clk = 0;
  always #10 clk = ~clk;
  top top(.clk100_0__io(clk));
endmodule
