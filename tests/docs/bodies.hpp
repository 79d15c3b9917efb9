/// What the examples of the pages see, besides what they declare.
#pragma once

#include <cassert>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <asio/use_future.hpp>
#include <weir/sim/explore.hpp>
#include <weir/sim/simulator.hpp>
#include <weir/weir.hpp>

// An example that is wrong fails, whatever the build type.
#undef assert
#define assert(condition)                                                                     \
  do {                                                                                        \
    if (!(condition)) throw std::runtime_error("in an example, this is not so: " #condition); \
  } while (false)

struct Body {
  std::string_view name;
  weir::Task<> (*run)(asio::thread_pool& pool);
};

extern const std::vector<Body> bodies;
