// Memories, as units hold them.

// One write and one read port in LUTs; the word comes a cycle after its address.
module lut_memory #(parameter W = 27, parameter DEPTH = 32) (
    input clk, input write, input [$clog2(DEPTH)-1:0] to, input [W-1:0] x, input [$clog2(DEPTH)-1:0] from, output reg [W-1:0] y);
    localparam BLOCKS = (DEPTH + 63) / 64, B = $clog2(DEPTH);
    genvar k, b;
    generate
        if (BLOCKS == 1) begin : one
            (* ram_style = "distributed" *) reg [W-1:0] words [0:DEPTH-1];
            always @(posedge clk) begin
                if (write) words[to] <= x;
                y <= words[from];
            end
        end else begin : blocks
            // 64 words a LUT; the multiplexers F7 and F8 choose among those of a bit.
            for (k = 0; k < BLOCKS; k = k + 1) begin : part
                (* ram_style = "distributed" *) reg [W-1:0] words [0:63];
                always @(posedge clk) if (write && to[B-1:6] == k) words[to[5:0]] <= x;
                wire [W-1:0] word = words[from[5:0]];
            end
            for (b = 0; b < W; b = b + 1) begin : column
                wire [BLOCKS-1:0] bits;
                for (k = 0; k < BLOCKS; k = k + 1) begin : place
                    assign bits[k] = part[k].word[b];
                end
                always @(posedge clk) y[b] <= bits[from[B-1:6]];
            end
        end
    endgenerate
endmodule

// The same in block memory.
module block_memory #(parameter W = 32, parameter DEPTH = 1024) (
    input clk, input write, input [$clog2(DEPTH)-1:0] to, input [W-1:0] x, input [$clog2(DEPTH)-1:0] from, output reg [W-1:0] y);
    (* ram_style = "block" *) reg [W-1:0] words [0:DEPTH-1];
    always @(posedge clk) begin
        if (write) words[to] <= x;
        y <= words[from];
    end
endmodule

// One bank of the scratchpad: two ports that each read or write.
module scratch_bank #(parameter W = 8, parameter DEPTH = 2048) (
    input clk, input write_a, input [$clog2(DEPTH)-1:0] at_a, input [W-1:0] x_a, output reg [W-1:0] y_a,
    input write_b, input [$clog2(DEPTH)-1:0] at_b, input [W-1:0] x_b, output reg [W-1:0] y_b);
    (* ram_style = "block" *) reg [W-1:0] words [0:DEPTH-1];
    always @(posedge clk) begin if (write_a) words[at_a] <= x_a; y_a <= words[at_a]; end
    always @(posedge clk) begin if (write_b) words[at_b] <= x_b; y_b <= words[at_b]; end
endmodule

// 64 constant bits: a LUT.
module constant_bits #(parameter [63:0] BITS = 0) (input [5:0] index, output y);
`ifdef XCUP
    LUT6 #(.INIT(BITS)) lut (.I0(index[0]), .I1(index[1]), .I2(index[2]), .I3(index[3]), .I4(index[4]), .I5(index[5]), .O(y));
`elsif XC7
    LUT6 #(.INIT(BITS)) lut (.I0(index[0]), .I1(index[1]), .I2(index[2]), .I3(index[3]), .I4(index[4]), .I5(index[5]), .O(y));
`else
    assign y = BITS[index];
`endif
endmodule

// Words that never change, a cycle.
module constant_table #(parameter ENTRIES = 192, parameter W = 16, parameter [ENTRIES*W-1:0] WORDS = 0) (
    input clk, input [$clog2(ENTRIES)-1:0] index, output reg [W-1:0] y);
    localparam BLOCKS = (ENTRIES + 63) / 64;
    function [63:0] column_bits(input integer b, input integer k);
        integer i;
        begin
            column_bits = 0;
            for (i = 0; i < 64; i = i + 1) if (64 * k + i < ENTRIES) column_bits[i] = WORDS[(64*k+i)*W+b];
        end
    endfunction
    genvar b, k;
    generate
        for (b = 0; b < W; b = b + 1) begin : column
            wire [BLOCKS-1:0] bits;
            for (k = 0; k < BLOCKS; k = k + 1) begin : part
                constant_bits #(column_bits(b, k)) words (index[5:0], bits[k]);
            end
            always @(posedge clk) y[b] <= bits[index[$clog2(ENTRIES)-1:6]];
        end
    endgenerate
endmodule

// A queue; a word that is written can be read two cycles later.
module fifo #(parameter W = 128, parameter DEPTH = 64, parameter BLOCK = 0) (
    input clk, input reset, input push, input [W-1:0] x, input pop, output reg [W-1:0] y, output empty, output full);
    localparam B = $clog2(DEPTH);
    reg [B-1:0] head, tail;
    reg [B:0] held;
    assign empty = held == 0;
    assign full = held == DEPTH;
    wire pushes = push & ~full, pops = pop & ~empty;
    generate
        if (BLOCK) begin : block
            block_memory #(W, DEPTH) words (clk, pushes, head, x, tail, y);
        end else begin : luts
            lut_memory #(W, DEPTH) words (clk, pushes, head, x, tail, y);
        end
    endgenerate
    always @(posedge clk) begin
        if (reset) begin
            head <= 0; tail <= 0; held <= 0;
        end else begin
            if (pushes) head <= head + 1'b1;
            if (pops) tail <= tail + 1'b1;
            if (pushes != pops) held <= pushes ? held + 1'b1 : held - 1'b1;
        end
    end
endmodule
