// What the schedule gate puts in the place of pragmas: calls that say where in the compiled code a pragma stands and what it names.
//
// None is ever run. Their bodies are nowhere; the gate reads the calls and takes them out.
#ifndef EDGEFLOW_SCHEDULE_MARKS_H
#define EDGEFLOW_SCHEDULE_MARKS_H

extern "C" {
void edgeflow_loop(int pragma, int value);
void edgeflow_object(const void* object, int pragma, int value, int rank, int n0, int n1, int n2, int n3, int bytes);
void edgeflow_pop(const void* stream);
bool edgeflow_pop_nb(const void* stream);
void edgeflow_push(const void* stream);
bool edgeflow_status(const void* stream);
}

namespace edgeflow_bits {

template <class T>
struct shape {
    static const int rank = 0, n0 = 1, n1 = 1, n2 = 1, n3 = 1, bytes = sizeof(T);
};
template <class T, decltype(sizeof(0)) N>
struct shape<T[N]> {
    static const int rank = shape<T>::rank + 1, n0 = N, n1 = shape<T>::n0, n2 = shape<T>::n1, n3 = shape<T>::n2, bytes = shape<T>::bytes;
};

template <class T>
inline void object(const T& value, int pragma, int number) {
    typedef shape<T> s;
    edgeflow_object(&value, pragma, number, s::rank, s::n0, s::n1, s::n2, s::n3, s::bytes);
}

}  // namespace edgeflow_bits

#endif
