// An SDR SDRAM chip that minds its data sheet (4 banks x 8192 rows x 512 columns x 16 bit, MT48LC16M16A2). A broken
// rule ends the simulation with a line that says which. +delay=NS: what pads and board take both ways, as what is read
// shows it.

`timescale 1ns / 1ps

module sdr_chip(
  input clk, input cke, input cs_n, input ras_n, input cas_n, input we_n, input [12:0] a, input [1:0] ba,
  input [1:0] dm, inout [15:0] dq
);
  // Nanoseconds, but for the latency.
  localparam real T_RCD = 20, T_RP = 20, T_RAS = 44, T_RFC = 66, T_WR = 15, T_AC = 5.4, T_OH = 2.7, T_REFI = 7812.5;
  real delay = 4;
  initial void'($value$plusargs("delay=%f", delay));
  localparam real T_START = 100000, T_SETUP = 1.5;
  reg [15:0] mem [0:(1 << 24) - 1];
  reg [12:0] row [0:3];
  reg [3:0] open = 0;
  real activated [0:3], precharged [0:3], written [0:3];
  real refreshed = -1000, last_refresh = 0, changed = 0;
  real longest_gap = 0, last_edge = 0;
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

  reg pairs = 0;  // bursts of 2, the second word in the clock after the first
  reg more_reads = 0, more_writes = 0;
  reg [23:0] second;

  wire [2:0] command = {ras_n, cas_n, we_n};
  wire reads = !cs_n && command == 3'b101, writes = !cs_n && command == 3'b100;
  wire [23:0] address = {row[ba], ba, a[8:0]};
  wire [23:0] place = reads || writes ? address : second;
  always @(cs_n, ras_n, cas_n, we_n, a, ba, dm) changed = $realtime;

  always @(posedge clk) last_edge <= $realtime;
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
          if (a[10]) close(pairs ? $realtime - last_edge : 0);
        end
        3'b100: begin  // WRITE
          if (!open[ba]) fail("WRITE to a closed bank");
          if ($realtime - activated[ba] < T_RCD) fail("tRCD");
          if (a[10]) close((pairs ? $realtime - last_edge : 0) + T_WR);
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
          if (a[3:1] != 0 || a[6:4] != 2) fail("this model has bursts of 1 or 2 and CAS latency 2 only");
          pairs <= a[0];
          mode_set <= mode_set + 1;
        end
        default: ;
      endcase
      if (writes || more_writes) begin
        if (drive) fail("a write while the chip drives the bus");
        if (!dm[0]) mem[place][7:0] <= dq[7:0];
        if (!dm[1]) mem[place][15:8] <= dq[15:8];
        written[place[10:9]] = $realtime;
      end
      reading <= {reading[0], reads || more_reads};
      read_data[1] <= read_data[0];
      read_data[0] <= mem[place];
      more_reads <= pairs && reads;
      more_writes <= pairs && writes;
      second <= {address[23:1], ~address[0]};
    end
  end
  // CL 2: data of the READ at edge n is there from T_AC behind edge n + 1 to T_OH behind edge n + 2. Pads and board may
  // take longer than a clock.
  always @(posedge clk) begin
    automatic reg on = reading[0];
    automatic reg [15:0] word = read_data[0];
    fork begin
      #(T_OH + delay) driven = ~driven;
      drive = on;
      #(T_AC - T_OH) if (on) driven = word;
    end join_none
  end
endmodule
