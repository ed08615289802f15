// The array as a process (docs/accelerator.md): commands, steps and words of operands come in as streams, finished rows go out.
//
// Ports are those of `multiply` in hw/include/edgeflow/network/multiply.hpp as AXI streams. Items are packed without gaps, the first
// member in the lowest bits, and padded to bytes:
//   commands     MultiplyCommand: source (2), scores, notice, rows (16), steps (16), slot (16), loads (20).
//   steps        Step: PI bytes, signed, quad, nibbles, odd; `value_steps` likewise, for commands whose source is 2.
//   loads        LoadWord: LOAD_BYTES bytes, slot (16), position (16), packing (2), quad, unsigned.
//   rows         RowSums: 32 bits an output, with QUAD of two rows; score_rows: ScoreRow, the lower 24 bits of the first row's.
//   multiplied   Flag: always 1.
//
// A command takes `loads` words and rows * steps steps, whichever is there, and the next one begins in the cycle after the last of both:
// it sees what was loaded before it, and loads what the one before has read. Only transfers are waited for, never the core's latency.
// A notice goes out when the command has taken everything and its rows, and those before them, have been handed over.
module edgeflow_array_process #(
    parameter FAMILY = "ultrascale",
    parameter PI = 16,
    parameter PO = 16,
    parameter SLOTS = 32,
    parameter QUAD = 1,
    parameter QUARTERS = 1,
    parameter LOAD_BYTES = 16,
    parameter ROWS = 32
) (
    input wire clk,
    input wire reset,

    input wire commands_tvalid,
    output wire commands_tready,
    input wire [71:0] commands_tdata,

    input wire steps_tvalid,
    output wire steps_tready,
    input wire [8*PI+7:0] steps_tdata,

    input wire value_steps_tvalid,
    output wire value_steps_tready,
    input wire [8*PI+7:0] value_steps_tdata,

    input wire loads_tvalid,
    output wire loads_tready,
    input wire [8*LOAD_BYTES+39:0] loads_tdata,

    output wire rows_tvalid,
    input wire rows_tready,
    output wire [32*PO*(QUAD+1)-1:0] rows_tdata,

    output wire score_rows_tvalid,
    input wire score_rows_tready,
    output wire [24*PO-1:0] score_rows_tdata,

    output wire multiplied_tvalid,
    input wire multiplied_tready,
    output wire [7:0] multiplied_tdata
);
    localparam SLOT_BITS = $clog2(SLOTS);
    localparam POSITION_BITS = PI * PO > LOAD_BYTES ? $clog2(PI * PO / LOAD_BYTES) : 1;

    // The command that is worked on, or none.
    wire begins;
    wire begins_steps;
    wire begins_loads;
    wire begins_values;
    wire begins_scores;
    wire begins_notice;
    wire [15:0] begins_rows;
    wire [15:0] begins_row_steps;
    wire [SLOT_BITS-1:0] begins_slot;
    wire [19:0] begins_words;
    reg busy;
    reg notice;
    reg scores;
    wire ends;
    edgeflow_array_commands #(
        .SLOT_BITS(SLOT_BITS)
    ) decoder (
        .clk(clk),
        .reset(reset),
        .commands_tvalid(commands_tvalid),
        .commands_tready(commands_tready),
        .commands_tdata(commands_tdata),
        .next(~busy | ends),
        .begins(begins),
        .has_steps(begins_steps),
        .has_loads(begins_loads),
        .values(begins_values),
        .scores(begins_scores),
        .notice(begins_notice),
        .rows(begins_rows),
        .steps(begins_row_steps),
        .slot(begins_slot),
        .loads(begins_words)
    );
    always @(posedge clk) begin
        if (reset) busy <= 1'b0;
        else busy <= begins | (busy & ~ends);
        if (begins) begin
            notice <= begins_notice;
            scores <= begins_scores;
        end
    end

    // Its steps.
    wire core_step_ready;
    wire stepping;
    wire steps_complete;
    wire from_values;
    wire step_first;
    wire step_last;
    wire [SLOT_BITS-1:0] step_slot;
    wire step_valid = stepping & (from_values ? value_steps_tvalid : steps_tvalid);
    wire step_taken = step_valid & core_step_ready;
    wire [8*PI+7:0] step_data = from_values ? value_steps_tdata : steps_tdata;
    assign steps_tready = stepping & ~from_values & core_step_ready;
    assign value_steps_tready = stepping & from_values & core_step_ready;
    edgeflow_array_steps #(
        .SLOT_BITS(SLOT_BITS)
    ) sequencer (
        .clk(clk),
        .reset(reset),
        .begins(begins),
        .begins_steps(begins_steps),
        .begins_values(begins_values),
        .begins_rows(begins_rows),
        .begins_row_steps(begins_row_steps),
        .begins_slot(begins_slot),
        .taken(step_taken),
        .stepping(stepping),
        .complete(steps_complete),
        .from_values(from_values),
        .first(step_first),
        .last(step_last),
        .slot(step_slot)
    );

    // Its words.
    reg loading;
    reg load_last;
    reg [19:0] loads_left;
    wire load_taken = loading & loads_tvalid;
    wire loads_complete = ~loading | (load_taken & load_last);
    assign loads_tready = loading;
    always @(posedge clk) begin
        if (reset) loading <= 1'b0;
        else loading <= begins ? begins_loads : ~loads_complete;
        if (begins | load_taken) begin
            loads_left <= begins ? begins_words : loads_left - 20'd1;
            load_last <= begins ? begins_words == 20'd1 : loads_left == 20'd2;
        end
    end

    // Rows leave in order; which of them are scores waits beside the core's sums.
    wire core_sums_valid;
    wire [32*PO*(QUAD+1)-1:0] core_sums;
    wire row_scores;
    wire row_known;
    wire row_room;
    wire sums_ready = row_scores ? score_rows_tready : rows_tready;
    wire row_taken = core_sums_valid & sums_ready;
    wire row_begun = step_taken & step_last;
    edgeflow_queue #(
        .BITS(1),
        .WORDS(ROWS)
    ) kinds (
        .clk(clk),
        .reset(reset),
        .room(row_room),
        .reserve(row_begun),
        .push(row_begun),
        .in(scores),
        .valid(row_known),
        .ready(row_taken),
        .out(row_scores)
    );
    assign rows_tvalid = core_sums_valid & ~row_scores;
    assign score_rows_tvalid = core_sums_valid & row_scores;
    assign rows_tdata = core_sums;
    genvar o;
    generate
        for (o = 0; o < PO; o = o + 1) begin : g_score
            assign score_rows_tdata[24*o+:24] = core_sums[32*o+:24];
        end
    endgenerate

    // A notice waits until the rows that were under way when its command had taken everything are handed over.
    localparam COUNT_BITS = $clog2(ROWS) + 1;
    localparam [COUNT_BITS-1:0] NONE = {COUNT_BITS{1'b0}};
    reg [COUNT_BITS-1:0] under_way;
    reg [COUNT_BITS-1:0] awaited;
    reg noticed;
    wire [COUNT_BITS-1:0] under_way_next = under_way + {{COUNT_BITS - 1{1'b0}}, row_begun} - {{COUNT_BITS - 1{1'b0}}, row_taken};
    wire told = multiplied_tvalid & multiplied_tready;
    assign ends = busy & steps_complete & loads_complete & ~(notice & noticed);
    assign multiplied_tvalid = noticed & awaited == NONE;
    assign multiplied_tdata = 8'd1;
    always @(posedge clk) begin
        if (reset) begin
            under_way <= NONE;
            noticed <= 1'b0;
        end else begin
            under_way <= under_way_next;
            noticed <= (ends & notice) | (noticed & ~told);
        end
        if (ends & notice) awaited <= under_way_next;
        else if (row_taken & awaited != NONE) awaited <= awaited - {{COUNT_BITS - 1{1'b0}}, 1'b1};
    end

    wire core_load_ready;
    edgeflow_array_core #(
        .FAMILY(FAMILY),
        .PI(PI),
        .PO(PO),
        .SLOTS(SLOTS),
        .QUAD(QUAD),
        .QUARTERS(QUARTERS),
        .LOAD_BYTES(LOAD_BYTES),
        .ROWS(ROWS)
    ) core (
        .clk(clk),
        .reset(reset),
        .load_valid(load_taken),
        .load_ready(core_load_ready),
        .load_data(loads_tdata[8*LOAD_BYTES-1:0]),
        .load_slot(loads_tdata[8*LOAD_BYTES+:SLOT_BITS]),
        .load_position(loads_tdata[8*LOAD_BYTES+16+:POSITION_BITS]),
        .load_packing(loads_tdata[8*LOAD_BYTES+32+:2]),
        .load_quad(loads_tdata[8*LOAD_BYTES+34]),
        .load_unsigned(loads_tdata[8*LOAD_BYTES+35]),
        .step_valid(step_valid),
        .step_ready(core_step_ready),
        .step_data(step_data[8*PI-1:0]),
        .step_slot(step_slot),
        .step_first(step_first),
        .step_last(step_last),
        .step_signed(step_data[8*PI]),
        .step_quad(step_data[8*PI+1]),
        .step_nibbles(step_data[8*PI+2]),
        .step_odd(step_data[8*PI+3]),
        .sums_valid(core_sums_valid),
        .sums_ready(sums_ready),
        .sums(core_sums)
    );
    wire unused = &{1'b0, core_load_ready, row_known, row_room, step_data, loads_tdata};
endmodule
