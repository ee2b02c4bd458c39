// An AXI4 slave in front of the simulated memory. This file holds the pins and the checks of the handshakes;
// contents, order and timing are in axi_memory.cpp.
//
// Bursts are INCR, of any size up to the bus; ids are kept. Plusargs, the same for every port of a simulation:
//   +memory_file=PATH    first bytes of the memory; the file itself never changes
//   +memory_bytes=N      size of the memory, a multiple of 4096; what the file does not fill is 0
//   +memory_base=N       address of the first byte, default 0
//   +memory_latency=N    clocks from an address (or the last write beat) to the response, default 32
//   +memory_part=TEXT    a DRAM, as dram_part.h has it, whose time takes the place of the latency
//   +memory_seed=N       0: that latency exactly, no stalls; else random latency (but with a DRAM), stalls and order
//                        between ids
// An address outside of the memory is answered with DECERR. A master that breaks the protocol ends the simulation.
module axi_memory #(
    parameter int DATA_BITS = 64,
    parameter int ADDRESS_BITS = 40,
    parameter int ID_BITS = 1,
    parameter int OUTSTANDING = 16,  // bursts in flight, reads and writes each
    parameter int PORT = 0           // each port has its own sequence of random numbers
) (
    input  wire aclk,
    input  wire aresetn,

    input  wire [ID_BITS-1:0] awid,
    input  wire [ADDRESS_BITS-1:0] awaddr,
    input  wire [7:0] awlen,
    input  wire [2:0] awsize,
    input  wire [1:0] awburst,
    input  wire awvalid,
    output reg  awready,
    input  wire [DATA_BITS-1:0] wdata,
    input  wire [DATA_BITS/8-1:0] wstrb,
    input  wire wlast,
    input  wire wvalid,
    output reg  wready,
    output reg  [ID_BITS-1:0] bid,
    output reg  [1:0] bresp,
    output reg  bvalid,
    input  wire bready,

    input  wire [ID_BITS-1:0] arid,
    input  wire [ADDRESS_BITS-1:0] araddr,
    input  wire [7:0] arlen,
    input  wire [2:0] arsize,
    input  wire [1:0] arburst,
    input  wire arvalid,
    output reg  arready,
    output reg  [ID_BITS-1:0] rid,
    output reg  [DATA_BITS-1:0] rdata,
    output reg  [1:0] rresp,
    output reg  rlast,
    output reg  rvalid,
    input  wire rready,

    output reg  [63:0] contents,  // where the bytes are in this process
    output reg  [63:0] fault,     // where this port's `Fault` is in this process, see faults.py
    output reg  [63:0] beats_read,
    output reg  [63:0] beats_written
);
    import "DPI-C" function int axi_memory_open(
        input string file, input string part, input longint bytes, input longint base, input int latency,
        input longint seed, input int port_index, input int beat_bytes, input int outstanding);
    import "DPI-C" function longint axi_memory_contents();
    import "DPI-C" function longint axi_memory_fault(input int handle);
    import "DPI-C" function void axi_memory_reset(input int handle);
    import "DPI-C" function int axi_memory_read_burst(
        input int handle, input int id, input longint address, input int beats, input int size, input int burst);
    import "DPI-C" function int axi_memory_write_burst(
        input int handle, input int id, input longint address, input int beats, input int size, input int burst);
    import "DPI-C" function int axi_memory_write_beat(
        input int handle, input bit [511:0] data, input longint strobe, input bit last);
    import "DPI-C" function longint axi_memory_clock(input int handle, input bit r_waits, input bit b_waits);
    import "DPI-C" function void axi_memory_read_beat(input int handle, output bit [511:0] data);

    typedef struct packed {
        bit [15:0] bid;
        bit [15:0] rid;
        bit [1:0] bresp;
        bit [1:0] rresp;
        bit rlast;
        bit bvalid;
        bit rvalid;
        bit wready;
        bit awready;
        bit arready;
    } step_t;

    int handle;

    initial begin
        automatic string file = "", part = "";
        automatic longint bytes = 0, base = 0, seed = 0;
        automatic int latency = 32;
        void'($value$plusargs("memory_file=%s", file));
        void'($value$plusargs("memory_part=%s", part));
        void'($value$plusargs("memory_bytes=%d", bytes));
        void'($value$plusargs("memory_base=%d", base));
        void'($value$plusargs("memory_latency=%d", latency));
        void'($value$plusargs("memory_seed=%d", seed));
        handle = axi_memory_open(file, part, bytes, base, latency, seed, PORT, DATA_BITS / 8, OUTSTANDING);
        if (handle < 0) $fatal(1, "the memory cannot be set up");
        contents = axi_memory_contents();
        fault = axi_memory_fault(handle);
        beats_read = 0;
        beats_written = 0;
        {arready, awready, wready, rvalid, bvalid} = 0;
    end

    // What was offered and not taken must be offered again, unchanged.
    wire [ID_BITS+ADDRESS_BITS+12:0] ar = {arid, araddr, arlen, arsize, arburst};
    wire [ID_BITS+ADDRESS_BITS+12:0] aw = {awid, awaddr, awlen, awsize, awburst};
    wire [DATA_BITS+DATA_BITS/8:0] w = {wdata, wstrb, wlast};
    reg ar_waits = 0, aw_waits = 0, w_waits = 0;
    reg [ID_BITS+ADDRESS_BITS+12:0] ar_offered, aw_offered;
    reg [DATA_BITS+DATA_BITS/8:0] w_offered;

    always @(posedge aclk) begin
        ar_waits <= aresetn && arvalid && !arready;
        aw_waits <= aresetn && awvalid && !awready;
        w_waits <= aresetn && wvalid && !wready;
        if (arvalid) ar_offered <= ar;
        if (awvalid) aw_offered <= aw;
        if (wvalid) w_offered <= w;
        if (aresetn && ar_waits && (!arvalid || ar != ar_offered)) $fatal(1, "AR changed before ARREADY");
        if (aresetn && aw_waits && (!awvalid || aw != aw_offered)) $fatal(1, "AW changed before AWREADY");
        if (aresetn && w_waits && (!wvalid || w != w_offered)) $fatal(1, "W changed before WREADY");
    end

    always @(posedge aclk) begin
        automatic int broken = 0;
        automatic longint next;
        automatic step_t step;
        automatic bit [511:0] word;
        if (!aresetn) begin
            axi_memory_reset(handle);
            {arready, awready, wready, rvalid, bvalid} <= 0;
        end else begin
            if (arvalid && arready)
                broken |= axi_memory_read_burst(
                    handle, int'(arid), longint'(araddr), int'(arlen) + 1, int'(arsize), int'(arburst));
            if (awvalid && awready)
                broken |= axi_memory_write_burst(
                    handle, int'(awid), longint'(awaddr), int'(awlen) + 1, int'(awsize), int'(awburst));
            if (wvalid && wready) begin
                broken |= axi_memory_write_beat(handle, 512'(wdata), longint'(wstrb), wlast);
                beats_written <= beats_written + 1;
            end
            if (broken != 0) $fatal(1, "the master broke the protocol");
            next = axi_memory_clock(handle, rvalid && !rready, bvalid && !bready);
            if (next < 0) $fatal(1, "the model of the DRAM broke a rule of the DRAM");
            step = step_t'(next);
            {arready, awready, wready} <= {step.arready, step.awready, step.wready};
            if (!rvalid || rready) begin
                rvalid <= step.rvalid;
                if (step.rvalid) begin
                    axi_memory_read_beat(handle, word);
                    rdata <= word[DATA_BITS-1:0];
                    rid <= step.rid[ID_BITS-1:0];
                    rresp <= step.rresp;
                    rlast <= step.rlast;
                end
            end
            if (!bvalid || bready) begin
                bvalid <= step.bvalid;
                bid <= step.bid[ID_BITS-1:0];
                bresp <= step.bresp;
            end
            if (rvalid && rready) beats_read <= beats_read + 1;
        end
    end
endmodule
