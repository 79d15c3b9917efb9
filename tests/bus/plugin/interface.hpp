// What the plugins of the test and their host know of each other.
#pragma once

#include <atomic>
#include <cstdint>

#include <weir/bus/plugin_scope.hpp>

namespace weir_test {

/// The host's. What the plugin makes counts itself in it, by code of the plugin.
struct PluginTally {
  std::atomic<std::int64_t> alive{0};
  std::atomic<std::uint64_t> calls{0};
  std::atomic<std::uint64_t> ticks{0};
  std::atomic<std::uint64_t> published{0};
  /// Any thread that runs code of the plugin sets it when the plugin is said to have gone.
  std::atomic<bool> gone{false};
  std::atomic<std::uint64_t> ghosts{0};
};

using StartPlugin = void(weir::PluginScope& scope, PluginTally& tally);

}  // namespace weir_test
