// Which of the clients that want something gets it: the one of the lowest number. `blocked`: a client of a lower number wants it.
module edgeflow_priority #(
    parameter CLIENTS = 4,
    parameter INDEX_BITS = CLIENTS > 1 ? $clog2(CLIENTS) : 1
) (
    input wire [CLIENTS-1:0] wants,
    output wire [CLIENTS-1:0] blocked,
    output reg [INDEX_BITS-1:0] index
);
    assign blocked[0] = 1'b0;
    genvar c;
    generate
        for (c = 1; c < CLIENTS; c = c + 1) begin : g_blocked
            assign blocked[c] = |wants[c-1:0];
        end
    endgenerate
    localparam integer LAST = CLIENTS - 1;
    wire unused_last = &{1'b0, wants[LAST]};
    integer i;
    always @* begin
        index = LAST[INDEX_BITS-1:0];
        for (i = LAST - 1; i >= 0; i = i - 1) if (wants[i]) index = i[INDEX_BITS-1:0];
    end
endmodule
