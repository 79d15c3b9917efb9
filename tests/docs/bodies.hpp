/// What the examples of the pages see, besides what they declare.
#pragma once

#include <array>
#include <cassert>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <weir/sim/explore.hpp>
#include <weir/sim/simulator.hpp>
#include <weir/weir.hpp>

#include <asio/use_future.hpp>

// An example that is wrong fails, whatever the build type. The variable is there for GCC 12: docs/traps.md, "a
// condition that awaits".
#undef assert
#define assert(...)                                              \
  if (const bool holds = static_cast<bool>(__VA_ARGS__); !holds) \
  throw std::runtime_error("in an example, this is not so: " #__VA_ARGS__)

struct Body {
  std::string_view name;
  weir::Task<> (*run)(asio::thread_pool& pool);
};

extern const std::vector<Body> bodies;
