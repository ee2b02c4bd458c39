// Block RAM and multiplier of the ECP5, for the simulation of netlists; Yosys has models of all other cells.
// Behaviour: Lattice FPGA-TN-02204 (memory), FPGA-TN-02205 (sysDSP), as far as Yosys uses the cells: no output
// register and no chip select; CLKA and CLKB are the same clock, or one of them stands still. A read of a word that
// the other port writes in the same clock gives wrong bits on purpose: the silicon promises nothing there.

module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA",
    parameter CLKBMUX = "CLKB", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "ENABLED",
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 =
    0, INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C
    = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0,
    INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0, INITVAL_18 = 0, INITVAL_19 =
    0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20
    = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0,
    INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D =
    0, INITVAL_2E = 0, INITVAL_2F = 0, INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34
    = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0,
    INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
    input
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3,
        DIA2, DIA1, DIA0, ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
        ADA0, DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0, ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
        ADB1, ADB0,
    output
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0, DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6,
        DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    wire [17:0] di_a = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3,
        DIA2, DIA1, DIA0
    };
    wire [17:0] di_b = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3,
        DIB2, DIB1, DIB0
    };
    wire [13:0] ad_a = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [13:0] ad_b = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
    };
    reg [35:0] q_a, q_b;
    // a port of 36 bits has its lower half on A and its upper half on B
    wire [17:0] do_a = DATA_WIDTH_B == 36 ? q_b[17:0] : q_a[17:0];
    wire [17:0] do_b = DATA_WIDTH_B == 36 ? q_b[35:18] : q_b[17:0];
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0
    } = do_a;
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0
    } = do_b;

    localparam [64 * 320 - 1:0] INIT = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
    };
    reg [8:0] bytes [0:2047];
    integer n;
    initial begin
        for (n = 0; n < 2048; n = n + 1) bytes[n] = INIT[320 * (n / 32) + 20 * (n / 2 % 16) + 9 * (n % 2) +: 9];
        q_a = 0;
        q_b = 0;
    end

    // which of the four bytes that a word of 36 bits has are written
    wire [35:0] wide = DATA_WIDTH_A == 36 ? {di_b, di_a} : 36'(di_a);

    task automatic write(input integer width, input [13:0] address, input [35:0] data);
        if (width == 36) begin
            for (integer i = 0; i < 4; i = i + 1)
                if (address[i]) bytes[{address[13:5], i[1:0]}] <= data[9 * i +: 9];
        end else if (width == 18) begin
            for (integer i = 0; i < 2; i = i + 1)
                if (address[i]) bytes[{address[13:4], i[0]}] <= data[9 * i +: 9];
        end else if (width == 9) bytes[address[13:3]] <= data[8:0];
        else if (width == 4) bytes[address[13:3]][4 * address[2] +: 4] <= data[3:0];
        else if (width == 2) bytes[address[13:3]][2 * address[2:1] +: 2] <= data[1:0];
        else bytes[address[13:3]][address[2:0]] <= data[0];
    endtask

    function automatic [35:0] read(input integer width, input [13:0] address);
        if (width == 36)
            read = {bytes[{address[13:5], 2'd3}], bytes[{address[13:5], 2'd2}],
                     bytes[{address[13:5], 2'd1}], bytes[{address[13:5], 2'd0}]};
        else if (width == 18) read = {18'd0, bytes[{address[13:4], 1'b1}], bytes[{address[13:4], 1'b0}]};
        else if (width == 9) read = {27'd0, bytes[address[13:3]]};
        else if (width == 4) read = {32'd0, bytes[address[13:3]][4 * address[2] +: 4]};
        else if (width == 2) read = {34'd0, bytes[address[13:3]][2 * address[2:1] +: 2]};
        else read = {35'd0, bytes[address[13:3]][address[2:0]]};
    endfunction

    function automatic [10:0] size(input integer width);  // bytes of 9 bits of a word, less 1
        size = width == 36 ? 3 : width == 18 ? 1 : 0;
    endfunction

    // two words meet if neither begins behind the other
    wire [10:0] first_a = ad_a[13:3] & ~size(DATA_WIDTH_A), first_b = ad_b[13:3] & ~size(DATA_WIDTH_B);
    wire meet = first_a <= first_b + size(DATA_WIDTH_B) && first_b <= first_a + size(DATA_WIDTH_A);
    wire write_a = CEA & WEA, write_b = CEB & WEB;
    wire some_a = write_a & (DATA_WIDTH_A == 36 ? |ad_a[3:0] : DATA_WIDTH_A == 18 ? |ad_a[1:0] : 1'b1);
    wire some_b = write_b & (DATA_WIDTH_B == 18 ? |ad_b[1:0] : 1'b1);

    always @(posedge CLKA) begin
        if (RSTA) q_a <= 0;
        else if (CEA & (~WEA | WRITEMODE_A == "READBEFOREWRITE"))
            q_a <= read(DATA_WIDTH_A, ad_a) ^ {36{some_b & meet}};
        else if (CEA & WRITEMODE_A == "WRITETHROUGH") q_a <= wide;
        if (write_a) write(DATA_WIDTH_A, ad_a, wide);
    end

    always @(posedge CLKB) begin
        if (RSTB) q_b <= 0;
        else if (CEB & (~WEB | WRITEMODE_B == "READBEFOREWRITE"))
            q_b <= read(DATA_WIDTH_B, ad_b) ^ {36{some_a & meet}};
        else if (CEB & WRITEMODE_B == "WRITETHROUGH") q_b <= 36'(di_b);
        if (write_b) write(DATA_WIDTH_B, ad_b, 36'(di_b));
    end
endmodule

module MULT18X18D (
    input
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0, B17, B16, B15, B14,
        B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0, C17, C16, C15, C14, C13, C12, C11, C10,
        C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
        P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
    };
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
    };
    wire signed [18:0] signed_a = {SIGNEDA & a[17], a}, signed_b = {SIGNEDB & b[17], b};
    wire signed [37:0] product = signed_a * signed_b;
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
        P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = product[35:0];
endmodule
