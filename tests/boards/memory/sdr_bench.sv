// An SDR SDRAM chip that minds its data sheet (4 banks x 8192 rows x 512 columns x 16 bit, MT48LC16M16A2), and the
// bench around it. Prints one line and ends; "PASS" or what went wrong.

`timescale 1ns / 1ps

module sdr_chip(
  input clk, input cke, input cs_n, input ras_n, input cas_n, input we_n, input [12:0] a, input [1:0] ba,
  input [1:0] dm, inout [15:0] dq
);
  // Nanoseconds, but for the latency.
  localparam real T_RCD = 20, T_RP = 20, T_RAS = 44, T_RFC = 66, T_WR = 15, T_AC = 5.4, T_OH = 2.7, T_REFI = 7812.5;
  localparam real T_START = 100000, T_SETUP = 1.5;
  reg [15:0] mem [0:(1 << 24) - 1];
  reg [12:0] row [0:3];
  reg [3:0] open = 0;
  real activated [0:3], precharged [0:3], written [0:3];
  real refreshed = -1000, last_refresh = 0, changed = 0;
  real longest_gap = 0;
  integer refreshes = 0, mode_set = 0;
  reg [1:0] reading = 0;  // at this edge, and at the one before
  reg [15:0] read_data [0:1];
  reg drive = 0;
  reg [15:0] driven = 0;
  assign dq = drive ? driven : 16'bz;

  initial for (int n = 0; n < 4; n++) begin
    activated[n] = -1000; precharged[n] = -1000; written[n] = -1000;
  end
  initial for (int n = 0; n < 1 << 24; n++) mem[n] = 16'(n * 40503 + (n >> 9));

  task automatic fail(input string what);
    $display("chip at %0.1f ns: %s", $realtime, what);
    $finish;
  endtask

  // Auto precharge: the bank closes by itself, as early as the data sheet lets it.
  task automatic close(input real after);
    open[ba] <= 0;
    precharged[ba] = $realtime + after;
    if (precharged[ba] < activated[ba] + T_RAS) precharged[ba] = activated[ba] + T_RAS;
  endtask

  wire [2:0] command = {ras_n, cas_n, we_n};
  wire [23:0] address = {row[ba], ba, a[8:0]};
  always @(cs_n, ras_n, cas_n, we_n, a, ba, dm) changed = $realtime;

  always @(posedge clk) begin
    if (cke) begin
      if (!cs_n && command != 3'b111 && $realtime - changed < T_SETUP) fail("a command changes at the clock edge");
      if (!cs_n && command != 3'b111 && $realtime < T_START) fail("a command before the chip has started");
      if (!cs_n && command != 3'b111 && $realtime - refreshed < T_RFC) fail("tRFC");
      if (!cs_n) case (command)
        3'b011: begin  // ACTIVE
          if (mode_set == 0 || refreshes < 2) fail("ACTIVE before the start-up has ended");
          if (open[ba]) fail("ACTIVE of an open bank");
          if ($realtime - precharged[ba] < T_RP) fail("tRP");
          open[ba] <= 1; row[ba] <= a; activated[ba] = $realtime;
        end
        3'b101: begin  // READ
          if (!open[ba]) fail("READ of a closed bank");
          if ($realtime - activated[ba] < T_RCD) fail("tRCD");
          if (a[10]) close(0);
        end
        3'b100: begin  // WRITE
          if (!open[ba]) fail("WRITE to a closed bank");
          if ($realtime - activated[ba] < T_RCD) fail("tRCD");
          if (drive) fail("WRITE while the chip drives the bus");
          written[ba] = $realtime;
          if (a[10]) close(T_WR);
          if (!dm[0]) mem[address][7:0] <= dq[7:0];
          if (!dm[1]) mem[address][15:8] <= dq[15:8];
        end
        3'b010: for (int n = 0; n < 4; n++) if (a[10] || n == 32'(ba)) begin  // PRECHARGE
          if (open[n] && $realtime - activated[n] < T_RAS) fail("tRAS");
          if (open[n] && $realtime - written[n] < T_WR) fail("tWR");
          open[n] <= 0; precharged[n] = $realtime;
        end
        3'b001: begin  // REFRESH
          if (open != 0) fail("REFRESH with an open bank");
          if (refreshes > 2 && $realtime - last_refresh > longest_gap) longest_gap = $realtime - last_refresh;
          refreshes <= refreshes + 1; refreshed = $realtime; last_refresh = $realtime;
        end
        3'b000: begin  // MODE
          if (open != 0) fail("MODE with an open bank");
          if (a[2:0] != 0 || a[6:4] != 2) fail("this model has bursts of 1 and CAS latency 2 only");
          mode_set <= mode_set + 1;
        end
        default: ;
      endcase
      reading <= {reading[0], !cs_n && command == 3'b101};
      read_data[1] <= read_data[0];
      read_data[0] <= mem[address];
    end
  end
  // CL 2: data of the READ at edge n is there from T_AC behind edge n + 1 to T_OH behind edge n + 2.
  always @(posedge clk) begin
    #(T_OH) driven <= ~driven;
    drive <= reading[1];
    #(T_AC - T_OH) if (reading[1]) driven <= read_data[1];
  end
endmodule

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
