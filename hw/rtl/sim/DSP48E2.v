// DSP48E2 as the array uses it, for simulation: the pre-adder, the multiplier, and C or PCIN added to the product, with the registers that
// the parameters ask for. Ports and parameters are those of the primitive (UG579); settings beyond that are refused.
module DSP48E2 #(
    parameter integer ACASCREG = 1,
    parameter integer ADREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter AMULTSEL = "A",
    parameter integer AREG = 1,
    parameter A_INPUT = "DIRECT",
    parameter integer BCASCREG = 1,
    parameter BMULTSEL = "B",
    parameter integer BREG = 1,
    parameter B_INPUT = "DIRECT",
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer INMODEREG = 1,
    parameter integer MREG = 1,
    parameter integer OPMODEREG = 1,
    parameter PREADDINSEL = "A",
    parameter integer PREG = 1,
    parameter USE_MULT = "MULTIPLY",
    parameter USE_SIMD = "ONE48"
) (
    output wire [29:0] ACOUT,
    output wire [17:0] BCOUT,
    output wire CARRYCASCOUT,
    output wire [3:0] CARRYOUT,
    output wire MULTSIGNOUT,
    output wire OVERFLOW,
    output wire [47:0] P,
    output wire PATTERNBDETECT,
    output wire PATTERNDETECT,
    output wire [47:0] PCOUT,
    output wire UNDERFLOW,
    output wire [7:0] XOROUT,
    input wire [29:0] A,
    input wire [29:0] ACIN,
    input wire [3:0] ALUMODE,
    input wire [17:0] B,
    input wire [17:0] BCIN,
    input wire [47:0] C,
    input wire CARRYCASCIN,
    input wire CARRYIN,
    input wire [2:0] CARRYINSEL,
    input wire CEA1,
    input wire CEA2,
    input wire CEAD,
    input wire CEALUMODE,
    input wire CEB1,
    input wire CEB2,
    input wire CEC,
    input wire CECARRYIN,
    input wire CECTRL,
    input wire CED,
    input wire CEINMODE,
    input wire CEM,
    input wire CEP,
    input wire CLK,
    input wire [26:0] D,
    input wire [4:0] INMODE,
    input wire MULTSIGNIN,
    input wire [8:0] OPMODE,
    input wire [47:0] PCIN,
    input wire RSTA,
    input wire RSTALLCARRYIN,
    input wire RSTALUMODE,
    input wire RSTB,
    input wire RSTC,
    input wire RSTCTRL,
    input wire RSTD,
    input wire RSTINMODE,
    input wire RSTM,
    input wire RSTP
);
    localparam PRE_ADDER = AMULTSEL == "AD" ? 1 : 0;
    initial begin
        if (A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || BMULTSEL != "B" || PREADDINSEL != "A" || USE_MULT != "MULTIPLY"
            || USE_SIMD != "ONE48" || AREG < 1 || BREG < 1 || CREG != 1 || MREG != 1 || PREG != 1 || OPMODEREG != 0
            || INMODEREG != 0 || ALUMODEREG != 0 || CARRYINSELREG != 0 || (PRE_ADDER != 0 && (AREG != 1 || ADREG != 1 || DREG != 1)))
        begin
            $display("%m: a setting of DSP48E2 that is not modelled");
            $stop;
        end
    end

    reg signed [26:0] a1;
    reg signed [26:0] a2;
    reg signed [26:0] d;
    reg signed [26:0] ad;
    reg signed [17:0] b1;
    reg signed [17:0] b2;
    reg [47:0] c;
    reg signed [44:0] m;
    reg [47:0] p;
    wire signed [26:0] multiplicand = PRE_ADDER != 0 ? ad : a2;
    wire [47:0] addend = OPMODE[6:4] == 3'b011 ? c : OPMODE[6:4] == 3'b001 ? PCIN : 48'b0;
    always @(posedge CLK) begin
        a1 <= RSTA ? 27'sd0 : CEA1 ? A[26:0] : a1;
        a2 <= RSTA ? 27'sd0 : CEA2 ? (AREG == 2 ? a1 : A[26:0]) : a2;
        d <= RSTD ? 27'sd0 : CED ? D : d;
        ad <= RSTD ? 27'sd0 : CEAD ? a2 + (INMODE[2] ? d : 27'sd0) : ad;
        b1 <= RSTB ? 18'sd0 : CEB1 ? B : b1;
        b2 <= RSTB ? 18'sd0 : CEB2 ? (BREG == 2 ? b1 : B) : b2;
        c <= RSTC ? 48'd0 : CEC ? C : c;
        m <= RSTM ? 45'sd0 : CEM ? multiplicand * b2 : m;
        p <= RSTP ? 48'd0 : CEP ? {{3{m[44]}}, m} + addend : p;
        // X and Y take the product, W nothing; Z nothing, C or PCIN; nothing is subtracted or carried in.
        if (OPMODE[8:7] != 2'b00 || OPMODE[3:0] != 4'b0101 || ALUMODE != 4'b0000 || CARRYIN || CARRYINSEL != 3'b000
            || INMODE[4:3] != 2'b00 || INMODE[1:0] != 2'b00 || (OPMODE[6:4] != 3'b000 && OPMODE[6:4] != 3'b001 && OPMODE[6:4] != 3'b011))
        begin
            $display("%m: a mode of DSP48E2 that is not modelled");
            $stop;
        end
    end
    assign P = p;
    assign PCOUT = p;
    assign ACOUT = 30'b0;
    assign BCOUT = 18'b0;
    assign CARRYCASCOUT = 1'b0;
    assign CARRYOUT = 4'b0;
    assign MULTSIGNOUT = 1'b0;
    assign OVERFLOW = 1'b0;
    assign PATTERNBDETECT = 1'b0;
    assign PATTERNDETECT = 1'b0;
    assign UNDERFLOW = 1'b0;
    assign XOROUT = 8'b0;
    wire unused = &{1'b0, A[29:27], ACIN, BCIN, CARRYCASCIN, CEALUMODE, CECARRYIN, CECTRL, CEINMODE, MULTSIGNIN, RSTALLCARRYIN, RSTALUMODE,
        RSTCTRL, RSTINMODE, ACASCREG[0], BCASCREG[0], CARRYINREG[0], a1, d, ad};
endmodule
