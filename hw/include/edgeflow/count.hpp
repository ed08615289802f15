// Counters of loop iterations, for the check that predicted trip counts are those that really run.
//
// EDGEFLOW_ENTER(name) stands before a pipelined loop, EDGEFLOW_TRIP(name) in its body. With EDGEFLOW_COUNT defined (C simulation only)
// each adds one to a counter: `entries` and `trips` of that name. Otherwise both vanish.
#ifndef EDGEFLOW_COUNT_HPP
#define EDGEFLOW_COUNT_HPP

#ifdef EDGEFLOW_COUNT
#include "counting.h"
#elif defined(EDGEFLOW_STALL)
#include "stalling.h"
#else
#define EDGEFLOW_ENTER(name)
#define EDGEFLOW_TRIP(name)
#endif

#endif
