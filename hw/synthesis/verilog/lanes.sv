// The lanes of the units: what each does with one element a cycle, from the registers that it reads to the one that it fills. Widths are
// those of the C++ (hw/cpp_widths.py). Inputs that the comment calls held do not change while an instruction runs.

// One output of a linear layer (epilogue.hpp): requantization, then table or residual, then saturation; after 17 cycles. Held: ties,
// above, index_above, is_signed, has_table, has_residual, residual_scale, residual_shift, output_shift. Ports write and to, x fill the table.
module epilogue_lane #(parameter WIDE = 27, parameter ENTRIES = 2048) (
    input clk, input signed [`ACCUMULATOR_BITS-1:0] sum, input signed [`WIDE_MULTIPLIER_BITS-1:0] factor, input [`SHIFT_BITS-1:0] shift,
    input [`WIDE_PRODUCT_BITS-1:0] ties, input has_table, input has_residual, input signed [`ELEMENT_BITS-1:0] residual,
    input signed [`MULTIPLIER_BITS-1:0] residual_scale, input [`SHIFT_BITS-1:0] residual_shift,
    input signed [`MULTIPLIER_BITS-1:0] output_scale, input [`SHIFT_BITS-1:0] output_shift, input [`ACTIVATION_INDEX_BITS-1:0] index_above,
    input [`ELEMENT_BITS-1:0] above, input is_signed, input write, input [$clog2(ENTRIES)-1:0] to, input [15:0] x,
    output signed [`ELEMENT_BITS-1:0] y);
    localparam W = `WIDE_PRODUCT_BITS, P = `ELEMENT_BITS + `MULTIPLIER_BITS;
    wire signed [W-1:0] product, value, late;
    wire [`SHIFT_BITS-1:0] shift_late;
    multiplier #(`WIDE_MULTIPLIER_BITS, `ACCUMULATOR_BITS, WIDE) m0 (clk, factor, sum, product);
    delay_line #(`SHIFT_BITS, 4) d0 (clk, shift, shift_late);
    round_shift #(W, 1) r0 (clk, product, shift_late, ties, value);
    wire signed [`ACTIVATION_INDEX_BITS-1:0] index;
    clip #(W, `ACTIVATION_INDEX_BITS) c0 (clk, value, index_above, 1'b1, index);
    // The middle of a table of 2^b entries lies at 2^(b - 1), the lowest place of `index_above`, whose places above are set.
    wire [`ACTIVATION_INDEX_BITS-1:0] middle = index_above & ~(index_above << 1);
    wire [`ACTIVATION_INDEX_BITS-1:0] place = index + middle;
    wire [15:0] entry;
    lut_memory #(16, ENTRIES) table_words (clk, write, to, x, place[$clog2(ENTRIES)-1:0], entry);
    wire signed [`ELEMENT_BITS-1:0] residual_late;
    wire signed [`MULTIPLIER_BITS-1:0] scale_late;
    delay_line #(`ELEMENT_BITS, 9) d1 (clk, residual, residual_late);
    delay_line #(`MULTIPLIER_BITS, 9) d2 (clk, output_scale, scale_late);
    wire signed [P-1:0] second, added;
    multiplier #(`ELEMENT_BITS, `MULTIPLIER_BITS, WIDE) m1 (
        clk, has_table ? {entry[15], entry} : residual_late, has_table ? scale_late : residual_scale, second);
    round_shift #(P) r1 (clk, second, has_table ? output_shift : residual_shift, {P{1'b0}}, added);
    delay_line #(W, 8) d3 (clk, value, late);
    reg signed [W-1:0] total;
    always @(posedge clk)
        total <= (late & {W{~has_table}}) + ({{(W-P){added[P-1]}}, added} & {W{has_table | has_residual}});
    clip #(W, `ELEMENT_BITS) c1 (clk, total, above, is_signed, y);
endmodule

// 2^(P - t) of a score's distance from its row's largest (attention.hpp: attention_weight), after 11 cycles. Held: factor, shift,
// fraction_bits, limit.
module exponent_lane #(parameter WIDE = 27, parameter ENTRIES = 1024) (
    input clk, input signed [`SCORE_BITS-1:0] maximum, input signed [`SCORE_BITS-1:0] score, input signed [`MULTIPLIER_BITS-1:0] factor,
    input [`SHIFT_BITS-1:0] shift, input [3:0] fraction_bits, input [`DIGITS_BITS-1:0] limit,
    input write, input [$clog2(ENTRIES)-1:0] to, input [`EXPONENT_BITS-1:0] x, output reg [`EXPONENT_BITS-1:0] y);
    localparam P = `DISTANCE_BITS + `MULTIPLIER_BITS, F = $clog2(ENTRIES);
    reg signed [`DISTANCE_BITS-1:0] distance;
    wire signed [P-1:0] product, t;
    multiplier #(`DISTANCE_BITS, `MULTIPLIER_BITS, WIDE) m (clk, distance, factor, product);
    round_shift #(P) r (clk, product, shift, {P{1'b0}}, t);
    reg signed [P-1:0] whole;
    reg [F-1:0] fraction;
    reg fits, fits_late;
    reg [`EXPONENT_SHIFT_BITS-1:0] count, count_late;
    wire [`EXPONENT_BITS-1:0] entry;
    lut_memory #(`EXPONENT_BITS, ENTRIES) words (clk, write, to, x, fraction, entry);
    reg [`ROUNDED_EXPONENT_BITS-1:0] rounded;
    wire [`ROUNDED_EXPONENT_BITS-1:0] half = (1'b1 << count) >> 1;
    always @(posedge clk) begin
        distance <= maximum - score;
        whole <= t >>> fraction_bits;
        fraction <= t & ~({F{1'b1}} << fraction_bits);
        fits <= whole <= $signed({1'b0, limit});
        count <= whole;
        rounded <= entry + half;
        count_late <= count;
        fits_late <= fits;
        y <= (rounded >> count_late) & {`EXPONENT_BITS{fits_late}};
    end
endmodule

// What attention keeps of a lane's row while scores arrive: the largest so far (attention.hpp: attention_scores); after a cycle.
module score_lane (
    input clk, input signed [`SCORE_BITS-1:0] score, input attended, input first, output reg signed [`SCORE_BITS-1:0] maximum);
    wire signed [`SCORE_BITS-1:0] former = first ? {1'b1, {(`SCORE_BITS-1){1'b0}}} : maximum;
    always @(posedge clk) maximum <= attended && score > former ? score : former;
endmodule

// An interpolated entry of a table (interpolate.hpp), after 5 cycles, 3 of them in the slice. Held: bits. The tables, whose words come a
// cycle after `segment`, are filled through write, to and the two words.
module interpolation #(parameter SEGMENTS = 128, parameter WIDE = 27) (
    input clk, input [$clog2(SEGMENTS)-1:0] segment, input [`PLACE_BITS-1:0] place, input [3:0] bits, input write,
    input [$clog2(SEGMENTS)-1:0] to, input [`KNOT_BITS-1:0] start_x, input [`KNOT_BITS-1:0] drop_x,
    output reg signed [`INTERPOLATED_BITS-1:0] y);
    wire signed [`KNOT_BITS-1:0] start, drop, start_late;
    lut_memory #(`KNOT_BITS, SEGMENTS) starts (clk, write, to, start_x, segment, start);
    lut_memory #(`KNOT_BITS, SEGMENTS) drops (clk, write, to, drop_x, segment, drop);
    reg [`PLACE_BITS-1:0] place_late;
    wire signed [`KNOT_BITS+`PLACE_BITS:0] down;
    multiplier #(`KNOT_BITS, `PLACE_BITS + 1, WIDE) m (clk, drop, {1'b0, place_late}, down);
    delay_line #(`KNOT_BITS, 2) d (clk, start, start_late);
    reg signed [`INTERPOLATED_BITS-1:0] whole;
    always @(posedge clk) begin
        place_late <= place;
        whole <= $signed({{(`INTERPOLATED_BITS-`KNOT_BITS){start_late[`KNOT_BITS-1]}}, start_late}) <<< bits;
        y <= whole - down;
    end
endmodule

// An element of a smooth rectifier (smooth.hpp), after 19 cycles, or 20 where its products take two slices. Held: all but x and the table's ports.
module smooth_lane #(parameter WIDE = 27, parameter SEGMENTS = 1024) (
    input clk, input signed [`ELEMENT_BITS-1:0] x, input signed [`LONG_MULTIPLIER_BITS-1:0] factor, input [`SHIFT_BITS-1:0] shift,
    input [3:0] bits, input [`SEGMENT_BITS-1:0] segments, input signed [`LONG_MULTIPLIER_BITS-1:0] slope,
    input [`SHIFT_BITS-1:0] output_shift, input signed [`LONG_ELEMENT_BITS-1:0] zero_point, input [`LONG_ELEMENT_BITS-1:0] above,
    input is_signed, input write, input [$clog2(SEGMENTS)-1:0] to, input [`KNOT_BITS-1:0] start_x, input [`KNOT_BITS-1:0] drop_x,
    output signed [`LONG_ELEMENT_BITS-1:0] y);
    localparam P = `MAGNITUDE_BITS + `LONG_MULTIPLIER_BITS, N = WIDE < `LONG_MULTIPLIER_BITS ? 2 : 1, S = $clog2(SEGMENTS);
    reg signed [`MAGNITUDE_BITS-1:0] magnitude, positive;
    wire signed [P-1:0] product, t, rectified, rectified_late;
    // The longer factor is on the wide port; where that is too narrow, the magnitude is.
    generate
        if (N == 1) begin : one
            multiplier #(`LONG_MULTIPLIER_BITS, `MAGNITUDE_BITS, WIDE) m0 (clk, factor, magnitude, product);
            multiplier #(`LONG_MULTIPLIER_BITS, `MAGNITUDE_BITS, WIDE) m1 (clk, slope, positive, rectified);
        end else begin : two
            multiplier #(`MAGNITUDE_BITS, `LONG_MULTIPLIER_BITS, WIDE) m0 (clk, magnitude, factor, product);
            multiplier #(`MAGNITUDE_BITS, `LONG_MULTIPLIER_BITS, WIDE) m1 (clk, positive, slope, rectified);
        end
    endgenerate
    round_shift #(P) r0 (clk, product, shift, {P{1'b0}}, t);
    reg signed [P-1:0] segment;
    reg [`PLACE_BITS-1:0] place;
    wire signed [`INTERPOLATED_BITS-1:0] value;
    interpolation #(SEGMENTS, WIDE) i (clk, segment[S-1:0], place, bits, write, to, start_x, drop_x, value);
    reg covered;
    wire covered_late;
    delay_line #(1, 4) d0 (clk, covered, covered_late);
    delay_line #(P, 9) d1 (clk, rectified, rectified_late);
    reg signed [P:0] difference;
    wire signed [P:0] rounded;
    round_shift #(P + 1) r1 (clk, difference, output_shift, {(P+1){1'b0}}, rounded);
    reg signed [P:0] moved;
    clip #(P + 1, `LONG_ELEMENT_BITS) c (clk, moved, above, is_signed, y);
    always @(posedge clk) begin
        magnitude <= x < 0 ? -x : x;
        positive <= x & {`ELEMENT_BITS{~x[`ELEMENT_BITS-1]}};
        segment <= t >>> bits;
        place <= t & ~({`PLACE_BITS{1'b1}} << bits);
        covered <= segment < $signed({1'b0, segments});
        difference <= rectified_late - (covered_late ? value : 0);
        moved <= rounded + zero_point;
    end
endmodule

// The weight of an element in softmax (softmax.hpp), after 17 cycles, or 18 as above. Held: all but the elements and the table's ports.
module softmax_weight_lane #(parameter WIDE = 27, parameter SEGMENTS = 128) (
    input clk, input signed [`ELEMENT_BITS-1:0] maximum, input signed [`ELEMENT_BITS-1:0] x,
    input signed [`LONG_MULTIPLIER_BITS-1:0] factor, input [`SHIFT_BITS-1:0] shift, input [3:0] bits, input [4:0] fraction_bits,
    input [$clog2(SEGMENTS)-1:0] segment_mask, input [`DIGITS_BITS-1:0] limit, input write, input [$clog2(SEGMENTS)-1:0] to,
    input [`KNOT_BITS-1:0] start_x, input [`KNOT_BITS-1:0] drop_x, output reg [`LONG_WEIGHT_BITS-1:0] y);
    localparam P = `MAGNITUDE_BITS + `LONG_MULTIPLIER_BITS, I = `INTERPOLATED_BITS;
    reg signed [`MAGNITUDE_BITS-1:0] distance;
    wire signed [P-1:0] product, t;
    generate
        if (WIDE >= `LONG_MULTIPLIER_BITS) begin : one
            multiplier #(`LONG_MULTIPLIER_BITS, `MAGNITUDE_BITS, WIDE) m (clk, factor, distance, product);
        end else begin : two
            multiplier #(`MAGNITUDE_BITS, `LONG_MULTIPLIER_BITS, WIDE) m (clk, distance, factor, product);
        end
    endgenerate
    round_shift #(P) r0 (clk, product, shift, {P{1'b0}}, t);
    reg signed [P-1:0] whole;
    reg [$clog2(SEGMENTS)-1:0] segment;
    reg [`PLACE_BITS-1:0] place;
    wire signed [I-1:0] value, rounded;
    interpolation #(SEGMENTS, WIDE) i (clk, segment, place, bits, write, to, start_x, drop_x, value);
    reg fits;
    reg [`SHIFT_BITS-1:0] down;
    wire fits_late;
    wire [`SHIFT_BITS-1:0] down_late;
    delay_line #(1, 7) d0 (clk, fits, fits_late);
    delay_line #(`SHIFT_BITS, 4) d1 (clk, down, down_late);
    round_shift #(I) r1 (clk, value, down_late, {I{1'b0}}, rounded);
    always @(posedge clk) begin
        distance <= maximum - x;
        whole <= t >>> fraction_bits;
        segment <= ($unsigned(t[`FRACTION_BITS-1:0]) >> bits) & segment_mask;
        place <= t & ~({`PLACE_BITS{1'b1}} << bits);
        fits <= whole <= $signed({1'b0, limit});
        down <= whole + bits;
        y <= rounded & {`LONG_WEIGHT_BITS{fits_late}};
    end
endmodule

// An output of softmax: weight times its row's reciprocal, after 8 cycles. Held: shift (of a row), above, is_signed.
module softmax_output_lane #(parameter WIDE = 27) (
    input clk, input [`LONG_WEIGHT_BITS-1:0] weight, input signed [`LONG_MULTIPLIER_BITS-1:0] scale, input [`SHIFT_BITS-1:0] shift,
    input [`LONG_ELEMENT_BITS-1:0] above, input is_signed, output signed [`LONG_ELEMENT_BITS-1:0] y);
    localparam W = `LONG_WEIGHT_BITS + 1, P = W + `LONG_MULTIPLIER_BITS;
    wire signed [P-1:0] product, rounded;
    generate
        if (WIDE >= `LONG_MULTIPLIER_BITS) begin : one
            multiplier #(`LONG_MULTIPLIER_BITS, W, WIDE) m (clk, scale, {1'b0, weight}, product);
        end else begin : two
            multiplier #(W, `LONG_MULTIPLIER_BITS, WIDE) m (clk, {1'b0, weight}, scale, product);
        end
    endgenerate
    round_shift #(P) r (clk, product, shift, {P{1'b0}}, rounded);
    clip #(P, `LONG_ELEMENT_BITS) c (clk, rounded, above, is_signed, y);
endmodule

// The largest of a chunk of N elements, of which `last` and those below it belong to the row; a cycle.
module maximum_lanes #(parameter N = 8) (
    input clk, input [N*`ELEMENT_BITS-1:0] x, input [N-1:0] own, output reg signed [`ELEMENT_BITS-1:0] y);
    reg signed [`ELEMENT_BITS-1:0] highest;
    integer lane;
    always @* begin
        highest = x[`ELEMENT_BITS-1:0];
        for (lane = 1; lane < N; lane = lane + 1)
            if (own[lane] && $signed(x[lane*`ELEMENT_BITS +: `ELEMENT_BITS]) > highest) highest = x[lane*`ELEMENT_BITS +: `ELEMENT_BITS];
    end
    always @(posedge clk) y <= highest;
endmodule

// Layer normalization, what a lane reads: the element with its fraction bits and the square of that (layernorm.hpp: layernorm_read);
// the element after a cycle, its square 3 later. Held: fraction_bits.
module layernorm_read_lane #(parameter WIDE = 27) (
    input clk, input signed [`ELEMENT_BITS-1:0] x, input own, input [4:0] fraction_bits, output reg signed [`DEVIATION_BITS-1:0] e,
    output signed [`SQUARE_BITS-1:0] square);
    always @(posedge clk) e <= $signed({x[`ELEMENT_BITS-1], x} & {`DEVIATION_BITS{own}}) <<< fraction_bits;
    multiplier #(`DEVIATION_BITS, `DEVIATION_BITS, WIDE) m (clk, e, e, square);
endmodule

// Layer normalization, what a lane writes (layernorm.hpp: layernorm_normalize); after 14 or 15 cycles. Held: root_shift and mean and root (of a
// row), shift, above, is_signed.
module layernorm_write_lane #(parameter WIDE = 27) (
    input clk, input signed [`DEVIATION_BITS-1:0] e, input signed [`MEAN_BITS-1:0] mean, input signed [`ROOT_BITS-1:0] root,
    input [`SHIFT_BITS-1:0] root_shift, input signed [`MULTIPLIER_BITS-1:0] gain, input signed [`PRODUCT_BITS-1:0] offset,
    input [`SHIFT_BITS-1:0] shift, input [`ELEMENT_BITS-1:0] above, input is_signed, output signed [`ELEMENT_BITS-1:0] y);
    localparam P = `DEVIATION_BITS + `ROOT_BITS, N = WIDE < `ROOT_BITS ? 2 : 1, Z = `NORMALIZED_BITS, G = Z + `MULTIPLIER_BITS;
    reg signed [`DEVIATION_BITS-1:0] d;
    wire signed [P-1:0] product, normal;
    generate
        if (N == 1) begin : one
            multiplier #(`ROOT_BITS, `DEVIATION_BITS, WIDE) m0 (clk, root, d, product);
        end else begin : two
            multiplier #(`DEVIATION_BITS, `ROOT_BITS, WIDE) m0 (clk, d, root, product);
        end
    endgenerate
    round_shift #(P) r (clk, product, root_shift, {P{1'b0}}, normal);
    wire signed [G-1:0] scaled;
    wire signed [Z-1:0] z = normal[Z-1:0];
    wire signed [`MULTIPLIER_BITS-1:0] gain_late;
    wire signed [`PRODUCT_BITS-1:0] offset_late;
    delay_line #(`MULTIPLIER_BITS, 6 + N) d0 (clk, gain, gain_late);
    delay_line #(`PRODUCT_BITS, 9 + N) d1 (clk, offset, offset_late);
    multiplier #(Z, `MULTIPLIER_BITS, WIDE) m1 (clk, z, gain_late, scaled);
    reg signed [`PRODUCT_BITS-1:0] affine, coarse, rounded;
    always @(posedge clk) begin
        d <= e - mean;
        affine <= offset_late + scaled;
        coarse <= affine >>> {shift[5:2], 2'b00};
        rounded <= coarse >>> shift[1:0];
    end
    clip #(`PRODUCT_BITS, `ELEMENT_BITS) c (clk, rounded, above, is_signed, y);
endmodule

// An element of the elementwise unit (elementwise.hpp), after 14 cycles. Held: all but a and b.
module elementwise_lane #(parameter WIDE = 27) (
    input clk, input signed [`ELEMENT_BITS-1:0] a, input signed [`MULTIPLIER_BITS-1:0] b, input adds, input multiplies, input requantizes,
    input signed [`MULTIPLIER_BITS-1:0] multiplier_a, input [`SHIFT_BITS-1:0] shift_a,
    input [`ELEMENT_BITS+`MULTIPLIER_BITS-1:0] ties, input signed [`MULTIPLIER_BITS-1:0] multiplier_b, input [`SHIFT_BITS-1:0] shift_b,
    input signed [`ACCUMULATOR_BITS-1:0] offset, input [`ELEMENT_BITS-1:0] above, input is_signed, output signed [`ELEMENT_BITS-1:0] y);
    localparam F = `ELEMENT_BITS + `MULTIPLIER_BITS, P = `PRODUCT_BITS;
    wire signed [F-1:0] first, scaled, scaled_late;
    multiplier #(`ELEMENT_BITS, `MULTIPLIER_BITS, WIDE) m0 (clk, a, adds ? multiplier_a : b, first);
    wire signed [`MULTIPLIER_BITS-1:0] b_late;
    delay_line #(`MULTIPLIER_BITS, 3) d0 (clk, b, b_late);
    reg signed [`ACCUMULATOR_BITS-1:0] second;
    wire signed [P-1:0] product, other;
    multiplier #(`MULTIPLIER_BITS, `ACCUMULATOR_BITS, WIDE) m1 (clk, multiplier_b, second, product);
    round_shift #(F, 1) r0 (clk, first, shift_a, ties, scaled);
    round_shift #(P) r1 (clk, product, shift_b, {P{1'b0}}, other);
    delay_line #(F, 6) d1 (clk, scaled, scaled_late);
    reg signed [P-1:0] added, sum;
    always @(posedge clk) begin
        second <= multiplies ? first : b_late;
        added <= requantizes ? offset : other;
        sum <= ({{(P-F){scaled_late[F-1]}}, scaled_late} & {P{~multiplies}}) + added;
    end
    clip #(P, `ELEMENT_BITS) c (clk, sum, above, is_signed, y);
endmodule

// A lane of the pool (pool.hpp): the sum of the rows that count, and what `last` hands over; a cycle.
module pool_lane (
    input clk, input signed [`ELEMENT_BITS-1:0] x, input counts, input last, output reg signed [`ACCUMULATOR_BITS-1:0] total);
    reg signed [`ACCUMULATOR_BITS-1:0] running;
    wire signed [`ACCUMULATOR_BITS-1:0] more = counts ? x : 0;
    wire signed [`ACCUMULATOR_BITS-1:0] next = running + more;
    always @(posedge clk) begin
        running <= last ? 0 : next;
        total <= next;
    end
endmodule

// A lane of the unit of extremes (extreme.hpp): the best of the rows that count; a cycle. Held: largest.
module extreme_lane (
    input clk, input signed [`ELEMENT_BITS-1:0] x, input counts, input last, input largest, output reg signed [`ELEMENT_BITS-1:0] y);
    reg signed [`ELEMENT_BITS-1:0] best;
    reg some;
    wire below = best < x;
    wire beyond = largest ? below : x < best;
    wire signed [`ELEMENT_BITS-1:0] now = counts && (!some || beyond) ? x : best;
    always @(posedge clk) begin
        y <= now;
        best <= last ? 0 : now;
        some <= !last && (some || counts);
    end
endmodule

// A lane of an embedding (embedding.hpp): an entry times its row's factor; after 7 cycles. Held: shift, above, is_signed.
module embedding_lane #(parameter WIDE = 27) (
    input clk, input signed [7:0] x, input signed [`MULTIPLIER_BITS-1:0] factor, input [`SHIFT_BITS-1:0] shift,
    input [`ELEMENT_BITS-1:0] above, input is_signed, output signed [`ELEMENT_BITS-1:0] y);
    localparam P = 8 + `MULTIPLIER_BITS;
    wire signed [P-1:0] product, rounded;
    multiplier #(8, `MULTIPLIER_BITS, WIDE) m (clk, x, factor, product);
    round_shift #(P) r (clk, product, shift, {P{1'b0}}, rounded);
    clip #(P, `ELEMENT_BITS) c (clk, rounded, above, is_signed, y);
endmodule

// A chunk of V elements out of a line (chunk.hpp: take_chunk): part `part` of it, in storage 0 (half bytes), 1 (bytes), 2 (two bytes);
// after 2 cycles. Held: storage, is_signed.
module take_chunk #(parameter V = 8) (
    input clk, input [511:0] line, input [5:0] part, input odd, input [1:0] storage, input is_signed, output reg [V*`ELEMENT_BITS-1:0] y);
    localparam N = 64 / V, B = $clog2(N);
    wire [8*V-1:0] low;
    wire [16*V-1:0] pairs;
    reg odd_late;
    multiplexer #(N, 8 * V) m0 (clk, line, part[B-1:0], low);
    generate
        if (N > 2) begin : many
            multiplexer #(N / 2, 16 * V) m1 (clk, line, part[B-2:0], pairs);
        end else begin : one
            delay_line #(512, 1) d (clk, line, pairs);
        end
    endgenerate
    integer lane;
    reg [7:0] whole;
    reg [3:0] half;
    always @(posedge clk) begin
        odd_late <= odd;
        for (lane = 0; lane < V; lane = lane + 1) begin
            whole = low[8*lane +: 8];
            half = odd_late ? whole[7:4] : whole[3:0];
            y[lane*`ELEMENT_BITS +: `ELEMENT_BITS] <=
                storage == 2 ? {is_signed & pairs[16*lane+15], pairs[16*lane +: 16]} :
                storage == 1 ? {{9{is_signed & whole[7]}}, whole} : {{13{is_signed & half[3]}}, half};
        end
    end
endmodule

// A chunk of V elements laid all over a line, with an enable for each byte (chunk.hpp: lay_chunk; memory.hpp: write_narrow); a cycle.
module lay_chunk #(parameter V = 8) (
    input clk, input [V*`ELEMENT_BITS-1:0] x, input [5:0] first, input [6:0] count, input [1:0] storage, output reg [511:0] line,
    output reg [63:0] enable);
    integer b;
    always @(posedge clk)
        for (b = 0; b < 64; b = b + 1) begin
            line[8*b +: 8] <= storage == 2 ? x[((b / 2) % V) * `ELEMENT_BITS + 8 * (b % 2) +: 8] :
                storage == 1 ? x[(b % V) * `ELEMENT_BITS +: 8] : {2{x[(b % V) * `ELEMENT_BITS +: 4]}};
            enable[b] <= b >= first && b < first + count;
        end
endmodule
