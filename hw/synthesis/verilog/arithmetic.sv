// What lanes are made of. Every module is a pipeline without stalls; its comment says after how many cycles a result comes out.

// One DSP slice: p = a * b, or plus the cascade's sum (CASCADE 1), or plus that 17 places down (CASCADE 2). Three registers: inputs,
// product, sum; a fourth at the inputs with INPUTS 2. Its own copy of UltraScale+ or 7 series is instantiated where XCUP or XC7 says so.
module dsp_slice #(parameter CASCADE = 0, parameter INPUTS = 1) (
    input clk, input signed [26:0] a, input signed [17:0] b, input signed [47:0] pcin, output signed [47:0] p, output signed [47:0] pcout);
`ifdef XCUP
    localparam [8:0] MODE = CASCADE == 0 ? 9'b000000101 : CASCADE == 1 ? 9'b000010101 : 9'b001010101;
    DSP48E2 #(
        .AREG(INPUTS), .ACASCREG(INPUTS), .BREG(INPUTS), .BCASCREG(INPUTS), .MREG(1), .PREG(1), .CREG(0), .DREG(0), .ADREG(0),
        .INMODEREG(0), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0)
    ) slice (
        .CLK(clk), .A({{3{a[26]}}, a}), .B(b), .C(48'b0), .D(27'b0), .PCIN(pcin), .P(p), .PCOUT(pcout), .OPMODE(MODE), .ALUMODE(4'b0),
        .INMODE(5'b0), .CARRYINSEL(3'b0), .CARRYIN(1'b0), .ACIN(30'b0), .BCIN(18'b0), .CEA1(1'b1), .CEA2(1'b1), .CEB1(1'b1),
        .CEB2(1'b1), .CEM(1'b1), .CEP(1'b1), .RSTA(1'b0), .RSTB(1'b0), .RSTM(1'b0), .RSTP(1'b0));
`elsif XC7
    localparam [6:0] MODE = CASCADE == 0 ? 7'b0000101 : CASCADE == 1 ? 7'b0010101 : 7'b1010101;
    DSP48E1 #(
        .AREG(INPUTS), .ACASCREG(INPUTS), .BREG(INPUTS), .BCASCREG(INPUTS), .MREG(1), .PREG(1), .CREG(0), .DREG(0), .ADREG(0),
        .INMODEREG(0), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0)
    ) slice (
        .CLK(clk), .A({{5{a[24]}}, a[24:0]}), .B(b), .C(48'b0), .D(25'b0), .PCIN(pcin), .P(p), .PCOUT(pcout), .OPMODE(MODE),
        .ALUMODE(4'b0), .INMODE(5'b0), .CARRYINSEL(3'b0), .CARRYIN(1'b0), .ACIN(30'b0), .BCIN(18'b0), .CEA1(1'b1), .CEA2(1'b1),
        .CEB1(1'b1), .CEB2(1'b1), .CEM(1'b1), .CEP(1'b1), .RSTA(1'b0), .RSTB(1'b0), .RSTM(1'b0), .RSTP(1'b0));
`else
    reg signed [26:0] a1, a2;
    reg signed [17:0] b1, b2;
    reg signed [44:0] m;
    reg signed [47:0] sum;
    wire signed [26:0] a_in = INPUTS == 2 ? a2 : a1;
    wire signed [17:0] b_in = INPUTS == 2 ? b2 : b1;
    wire signed [47:0] z = CASCADE == 0 ? 48'sd0 : CASCADE == 1 ? pcin : pcin >>> 17;
    always @(posedge clk) begin
        a1 <= a; a2 <= a1; b1 <= b; b2 <= b1;
        m <= a_in * b_in;
        sum <= m + z;
    end
    assign p = sum;
    assign pcout = sum;
`endif
endmodule

// A delay of CYCLES.
module delay_line #(parameter BITS = 8, parameter CYCLES = 1) (input clk, input [BITS-1:0] x, output [BITS-1:0] y);
    generate
        if (CYCLES == 0) begin : none
            assign y = x;
        end else begin : stages
            reg [BITS-1:0] stage [0:CYCLES-1];
            integer i;
            always @(posedge clk) begin
                stage[0] <= x;
                for (i = 1; i < CYCLES; i = i + 1) stage[i] <= stage[i-1];
            end
            assign y = stage[CYCLES-1];
        end
    endgenerate
endmodule

// The product of two signed numbers after 2 + slices cycles: the first operand on the port of WIDE bits, the second on that of 18. An
// operand beyond its port is cut at 17 bits, so that the slices' own adders sum up all products along one cascade.
module multiplier #(parameter A = 18, parameter B = 18, parameter WIDE = 27) (
    input clk, input signed [A-1:0] a, input signed [B-1:0] b, output signed [A+B-1:0] p);
    localparam CUT_A = A > WIDE, CUT_B = B > 18, SLICES = (1 + CUT_A) * (1 + CUT_B);
    wire signed [A+B-1:0] product;
    genvar k;
    generate
        for (k = 0; k < SLICES; k = k + 1) begin : tile
            localparam HIGH_A = CUT_A && (CUT_B ? k >= 2 : k == 1), HIGH_B = CUT_B && k % 2 == 1;
            wire signed [26:0] x = HIGH_A ? a >>> 17 : CUT_A ? $signed({10'b0, a[16:0]}) : a;
            wire signed [17:0] y = HIGH_B ? b >>> 17 : CUT_B ? $signed({1'b0, b[16:0]}) : b;
            wire signed [26:0] xd;
            wire signed [17:0] yd;
            wire signed [47:0] p, pcout;
            delay_line #(27, k > 1 ? k - 1 : 0) dx (clk, x, xd);
            delay_line #(18, k > 1 ? k - 1 : 0) dy (clk, y, yd);
            // Four tiles: low low, >> 17, low high, + high low, >> 17, high high.
            if (k == 0) dsp_slice #(0, 1) s (clk, xd, yd, 48'sd0, p, pcout);
            else dsp_slice #(k == 2 ? 1 : 2, 2) s (clk, xd, yd, tile[k-1].pcout, p, pcout);
        end
        if (SLICES == 1) begin : one
            assign product = tile[0].p;
        end else if (SLICES == 2) begin : two
            wire [16:0] low;
            delay_line #(17, 1) d (clk, tile[0].p[16:0], low);
            assign product = {tile[1].p[A+B-18:0], low};
        end else begin : four
            wire [16:0] low, middle;
            delay_line #(17, 3) d0 (clk, tile[0].p[16:0], low);
            delay_line #(17, 1) d1 (clk, tile[2].p[16:0], middle);
            assign product = {tile[3].p[A+B-35:0], middle, low};
        end
    endgenerate
    assign p = product;
endmodule

// value / 2^shift rounded half up, or with TIES half to even (requantize.hpp: round_shift, round_ties), after 3 cycles.
module round_shift #(parameter W = 50, parameter TIES = 0) (
    input clk, input signed [W-1:0] value, input [5:0] shift, input [W-1:0] ties, output reg signed [W-1:0] y);
    reg signed [W:0] coarse, kept;
    reg [1:0] fine;
    reg below, below_kept;
    wire signed [W:0] doubled = {value, 1'b0};
    always @(posedge clk) begin
        coarse <= doubled >>> {shift[5:2], 2'b00};
        fine <= shift[1:0];
        below <= |(value & ties);
        kept <= coarse >>> fine;
        below_kept <= below;
        y <= (kept >>> 1) + $signed({1'b0, TIES ? kept[0] & (kept[1] | below_kept) : kept[0]});
    end
endmodule

// Clips to the places below those of `above` (requantize.hpp: clip), after a cycle.
module clip #(parameter W = 50, parameter R = 17) (
    input clk, input signed [W-1:0] value, input [R-1:0] above, input is_signed, output reg signed [R-1:0] y);
    wire negative = value[W-1];
    wire [W-1:0] places = {{(W-R){above[R-1]}}, above};
    wire outside = |((value ^ {W{negative}}) & places) | (negative & ~is_signed);
    wire [R-1:0] low = above & {R{is_signed}};
    always @(posedge clk) y <= outside ? (negative ? low : ~above) : value[R-1:0];
endmodule

// The sum of N signed numbers, a register a level.
module adder_tree #(parameter N = 8, parameter W = 18) (
    input clk, input [N*W-1:0] x, output signed [W+$clog2(N)-1:0] y);
    localparam LEVELS = $clog2(N);
    genvar l, i;
    generate
        for (l = 0; l <= LEVELS; l = l + 1) begin : level
            localparam COUNT = (N + (1 << l) - 1) >> l, BEFORE = (N + (1 << l >> 1) - 1) >> (l > 0 ? l - 1 : 0);
            for (i = 0; i < COUNT; i = i + 1) begin : sum
                wire signed [W+l-1:0] s;
                if (l == 0) assign s = x[i*W +: W];
                else begin : add
                    reg signed [W+l-1:0] r;
                    if (2 * i + 1 < BEFORE) begin : two
                        always @(posedge clk) r <= level[l-1].sum[2*i].s + level[l-1].sum[2*i+1].s;
                    end else begin : one
                        always @(posedge clk) r <= level[l-1].sum[2*i].s;
                    end
                    assign s = r;
                end
            end
        end
    endgenerate
    assign y = level[LEVELS].sum[0].s;
endmodule

// a < b of signed numbers, after a cycle.
module comparator #(parameter W = 17) (input clk, input signed [W-1:0] a, input signed [W-1:0] b, output reg y);
    always @(posedge clk) y <= a < b;
endmodule

// One of N words, after a cycle.
module multiplexer #(parameter N = 4, parameter W = 8) (
    input clk, input [N*W-1:0] x, input [$clog2(N)-1:0] select, output reg [W-1:0] y);
    genvar b, i;
    generate
        for (b = 0; b < W; b = b + 1) begin : column
            wire [N-1:0] places;
            for (i = 0; i < N; i = i + 1) begin : word
                assign places[i] = x[i*W+b];
            end
            always @(posedge clk) y[b] <= places[select];
        end
    endgenerate
endmodule

// A signed number moved down by 0 to N - 1 places, after a cycle.
module shifter #(parameter W = 32, parameter N = 32) (
    input clk, input signed [W-1:0] x, input [$clog2(N)-1:0] places, output reg signed [W-1:0] y);
    always @(posedge clk) y <= x >>> places;
endmodule

// N words turned by `distance` of them, KEPT of them wanted (rotate.hpp), after a cycle.
module rotator #(parameter N = 16, parameter W = 8, parameter KEPT = N) (
    input clk, input [N*W-1:0] x, input [$clog2(N)-1:0] distance, output reg [KEPT*W-1:0] y);
    localparam B = $clog2(N), STAGES = (B + 1) / 2;
    wire [2*STAGES-1:0] digits = distance;
    genvar s, i;
    generate
        for (s = 0; s <= STAGES; s = s + 1) begin : stage
            wire [N*W-1:0] words;
            if (s == 0) assign words = x;
            else begin : turn
                localparam HOP = 1 << 2 * (STAGES - s);
                wire [1:0] digit = digits[2*(STAGES-s) +: 2];
                for (i = 0; i < N; i = i + 1) begin : word
                    wire [4*W-1:0] places = {stage[s-1].words[(i+3*HOP)%N*W +: W], stage[s-1].words[(i+2*HOP)%N*W +: W],
                        stage[s-1].words[(i+HOP)%N*W +: W], stage[s-1].words[i*W +: W]};
                    assign words[i*W +: W] = places[digit * W +: W];
                end
            end
        end
    endgenerate
    always @(posedge clk) y <= stage[STAGES].words[KEPT*W-1:0];
endmodule

// Unsigned division, a quotient bit a stage, after N cycles: the remainder or its difference from the divisor is kept.
module divider #(parameter N = 42, parameter D = 24) (
    input clk, input [N-1:0] dividend, input [D-1:0] divisor, output [N-1:0] quotient);
    genvar k;
    generate
        for (k = 0; k <= N; k = k + 1) begin : stage
            reg [D-1:0] rest, by;
            reg [N-1:0] bits;  // the quotient's so far, below those of the dividend that are left
            if (k == 0) begin : start
                always @* begin rest = 0; by = divisor; bits = dividend; end
            end else begin : step
                wire [D:0] comb = {stage[k-1].rest, stage[k-1].bits[N-1]};
                wire [D:0] difference = comb - stage[k-1].by;
                wire fits = ~difference[D];  // the rest was below the divisor, so their difference is a number of D bits and a sign
                always @(posedge clk) begin
                    rest <= fits ? difference[D-1:0] : comb[D-1:0];
                    by <= stage[k-1].by;
                    bits <= {stage[k-1].bits[N-2:0], fits};
                end
            end
        end
    endgenerate
    assign quotient = stage[N].bits;
endmodule
