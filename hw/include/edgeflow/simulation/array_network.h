// The processes of the array and the scratchpad that they share, joined for C simulation.
#ifndef EDGEFLOW_SIMULATION_ARRAY_NETWORK_H
#define EDGEFLOW_SIMULATION_ARRAY_NETWORK_H

#include "edgeflow/network/sequence.hpp"

namespace edgeflow {

// A client's reads: what it asks for and what it gets.
template <int DEPTH>
struct Reader {
    hls::stream<LineAddress, DEPTH> requests;
    hls::stream<Line, DEPTH> lines;
    Reader(const char* asks, const char* gets) : requests(asks), lines(gets) {}
};

// Its writes, and what says that they are in memory.
struct Writer {
    hls::stream<WriteRequest, 8> writes;
    hls::stream<Flag, 2> done;
    Writer(const char* gives, const char* says) : writes(gives), done(says) {}
};

template <class C>
class ArrayNetwork {
  public:
    explicit ArrayNetwork(Scratch<C>& scratch, hls::stream<StreamWord<C> >& words) :
        commands{
            feed_lines_, feed_steps_, load_, multiply_, residual_, epilogue_, track_, weigh_, divide_, query_lines_, value_lines_,
            values_, outputs_, norm_lines_, norm_sums_, norm_statistics_, norm_write_, multiplied_, epilogue_port_.done,
            outputs_port_.done, norm_port_.done},
        scratch_(scratch), words_(words) {}

    // State that outlives a run: what the array holds still.
    struct Held {
        Stationary<C> stationary;
        EpilogueState<C> epilogue;
        TrackState<C> track;
        WeighState<C> weigh;
        ValuesState<C> values;
        OutputsState<C> outputs;
        NormState<C> norm;
    };

    void add(edgeflow_simulation::Network& network, Held& held) {
        network.serve("scratchpad", [&] { scratchpad(); });
        network.serve("feed lines", [&] { feed_lines<C>(feed_lines_, feed_.requests); });
        network.serve("feed steps", [&] { feed_steps<C>(feed_steps_, feed_.lines, steps_); });
        network.serve("load", [&] {
            load<C>(load_, words_, queries_.lines, weights_, loads_, parameters_, table_, norm_words_);
        });
        network.serve("multiply", [&] {
            multiply<C>(multiply_, steps_, value_steps_, loads_, rows_, score_rows_, multiplied_, held.stationary);
        });
        network.serve("residual lines", [&] { residual_lines<C>(residual_, residuals_.requests); });
        network.serve("epilogue", [&] {
            epilogue<C>(
                epilogue_, rows_, parameters_, reciprocals_, residuals_.lines, epilogue_port_.writes, query_outputs_, held.epilogue);
        });
        network.serve("track", [&] { track<C>(track_, score_rows_, masks_, scores_, maxima_, held.track); });
        network.serve("weigh", [&] { weigh<C>(weigh_, scores_, maxima_, table_, weights_, totals_, held.weigh); });
        network.serve("divide", [&] { divide<C>(divide_, totals_, reciprocals_); });
        network.serve("query lines", [&] { query_lines<C>(query_lines_, queries_.requests); });
        network.serve("value lines", [&] { value_lines<C>(value_lines_, value_port_.requests); });
        network.serve("values", [&] { values<C>(values_, value_port_.lines, masks_, value_steps_, held.values); });
        network.serve("outputs", [&] { outputs<C>(outputs_, query_outputs_, outputs_port_.writes, held.outputs); });
        network.serve("norm lines", [&] { norm_lines<C>(norm_lines_, complete_, norm_.requests); });
        network.serve("norm sums", [&] { norm_sums<C>(norm_sums_, norm_.lines, norm_chunks_, sums_); });
        network.serve("norm statistics", [&] { norm_statistics<C>(norm_statistics_, sums_, statistics_); });
        network.serve("norm write", [&] {
            norm_write<C>(norm_write_, norm_words_, norm_chunks_, statistics_, norm_port_.writes, held.norm);
        });
    }

    ArrayCommands commands;
    hls::stream<Descriptor, 2> vector_commands{"vector's commands"}, ask_commands{"ask's commands"};

    // What vector units read and write in the scratchpad's place.
    AskedLines<C> asked() { return AskedLines<C>{vector_narrow_.requests, vector_wide_.requests}; }
    GivenLines<C> given() { return GivenLines<C>{vector_narrow_.lines, vector_wide_.lines, vector_port_.writes}; }
    void wait_for_vector() { vector_port_.done.read(); }

  private:
    // One request of every client that has one.
    void scratchpad() {
        edgeflow_simulation::network().wait_until([&] { return pending(); });
        answer(feed_);
        answer(queries_);
        answer(value_port_);
        answer(residuals_);
        answer(norm_);
        answer(vector_narrow_);
        answer(vector_wide_);
        store(vector_port_);
        store(epilogue_port_);
        store(outputs_port_);
        store(norm_port_);
    }

    bool pending() const {
        return asks(feed_) || asks(queries_) || asks(value_port_) || asks(residuals_) || asks(norm_) ||
               asks(vector_narrow_) || asks(vector_wide_) || !vector_port_.writes.empty() ||
               !epilogue_port_.writes.empty() || !outputs_port_.writes.empty() || !norm_port_.writes.empty();
    }

    template <int DEPTH>
    bool asks(const Reader<DEPTH>& reader) const {
        return !reader.requests.empty() && !reader.lines.full();  // answered only where there is room for the answer
    }

    template <int DEPTH>
    void answer(Reader<DEPTH>& reader) {
        if (asks(reader)) {
            reader.lines.write(read_line<C>(scratch_, reader.requests.read()));
        }
    }

    void store(Writer& writer) {
        if (!writer.writes.empty()) {
            const WriteRequest request = writer.writes.read();
            if (request.count != 0) {
                write_line<C>(scratch_, request.line, request.first, request.count, request.halves, request.value);
            }
            if (request.notice == NOTICE_DONE) {
                writer.done.write(1);
            } else if (request.notice == NOTICE_ROW) {
                complete_.write(1);
            }
        }
    }

    Scratch<C>& scratch_;
    hls::stream<StreamWord<C> >& words_;
    static const int PARAMETER_WORDS = 3 * C::PO * 4 / Memory<C>::STREAM_BYTES;
    hls::stream<FeedCommand, 2> feed_lines_{"feed lines' commands"}, feed_steps_{"feed steps' commands"};
    hls::stream<LoadCommand, 2> load_{"load's commands"};
    hls::stream<MultiplyCommand, 2> multiply_{"multiply's commands"};
    hls::stream<EpilogueCommand, 2> residual_{"residual lines' commands"}, epilogue_{"epilogue's commands"};
    hls::stream<TrackCommand, 2> track_{"track's commands"};
    hls::stream<WeighCommand, 2> weigh_{"weigh's commands"};
    hls::stream<DivideCommand, 2> divide_{"divide's commands"};
    hls::stream<LinesCommand, 2> query_lines_{"query lines' commands"}, value_lines_{"value lines' commands"};
    hls::stream<ValuesCommand, 2> values_{"values' commands"};
    hls::stream<OutputsCommand, 2> outputs_{"outputs' commands"};
    hls::stream<NormCommand, 2> norm_lines_{"norm lines' commands"}, norm_sums_{"norm sums' commands"};
    hls::stream<NormCommand, 2> norm_statistics_{"norm statistics' commands"}, norm_write_{"norm write's commands"};
    Reader<16> feed_{"feed requests", "feed lines"};
    Reader<16> queries_{"query requests", "query lines"};
    Reader<16> value_port_{"value requests", "value lines"};
    Reader<16> residuals_{"residual requests", "residual lines"};
    Reader<16> norm_{"norm requests", "norm lines"};
    Reader<16> vector_narrow_{"narrow vector requests", "narrow vector lines"};
    Reader<16> vector_wide_{"wide vector requests", "wide vector lines"};
    Writer vector_port_{"vector writes", "vector done"};
    Writer epilogue_port_{"epilogue writes", "epilogue done"};
    Writer outputs_port_{"outputs writes", "outputs done"};
    Writer norm_port_{"norm writes", "norm done"};
    hls::stream<Step<C>, 4> steps_{"steps"}, value_steps_{"value steps"};
    hls::stream<LoadWord<C>, 4> loads_{"loads"};
    hls::stream<ParameterWord<C>, 16> parameters_{"parameters"};
    hls::stream<RowSums<C>, 16> rows_{"rows"}, score_rows_{"score rows"};
    hls::stream<Flag, 2> multiplied_{"multiplied"};
    hls::stream<KeyScores<C>, 2 * C::ATTENTION_KEYS> scores_{"scores"};
    hls::stream<Maxima<C>, 2> maxima_{"maxima"};
    hls::stream<KeyWeights<C>, 4> weights_{"key weights"};
    hls::stream<Totals<C>, 2> totals_{"totals"};
    hls::stream<LaneReciprocal, 16> reciprocals_{"reciprocals"};
    hls::stream<StreamWord<C>, 4> table_{"table"}, norm_words_{"norm words"};
    hls::stream<Line, 2> masks_{"masks"};
    hls::stream<QueryOutputs<C>, 16> query_outputs_{"query outputs"};
    hls::stream<Flag, 1024> complete_{"complete rows"};
    hls::stream<NormChunk<C>, C::LAYERNORM_RING> norm_chunks_{"norm chunks"};
    hls::stream<NormSums, 4> sums_{"norm sums"};
    hls::stream<NormStatistics, 4> statistics_{"norm statistics"};
};

// Waits until the processes that a chain's last instruction commanded say that they are done.
inline void wait_for(ArrayCommands& commands, bool outputs, bool norm) {
    commands.multiplied.read();
    commands.epilogue_done.read();
    if (outputs) {
        commands.outputs_done.read();
    }
    if (norm) {
        commands.norm_done.read();
    }
}

}  // namespace edgeflow

#endif
