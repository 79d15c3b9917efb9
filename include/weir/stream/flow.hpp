/// Flows: their sources, their operators, and what ends a pipeline.
#pragma once

#include <weir/stream/flow/collected.hpp>
#include <weir/stream/flow/debounce.hpp>
#include <weir/stream/flow/distinct.hpp>
#include <weir/stream/flow/emitted.hpp>
#include <weir/stream/flow/flat_map.hpp>
#include <weir/stream/flow/flow.hpp>
#include <weir/stream/flow/for_each.hpp>
#include <weir/stream/flow/from.hpp>
#include <weir/stream/flow/map.hpp>
#include <weir/stream/flow/merge.hpp>
#include <weir/stream/flow/results_of.hpp>
#include <weir/stream/flow/scan.hpp>
#include <weir/stream/flow/take.hpp>
#include <weir/stream/flow/ticks.hpp>
#include <weir/stream/flow/timed_window.hpp>
#include <weir/stream/flow/to_range.hpp>
#include <weir/stream/flow/window.hpp>
