#include <weir/bus/plugin_options.hpp>

#include <type_traits>

#include "support/catch.hpp"

TEST_CASE("plugin_options: they can be given in braces, and kinds have names") {
  STATIC_REQUIRE(std::is_trivially_destructible_v<weir::PluginOptions>);
  const weir::PluginOptions options{.highest = weir::EventPriority::low, .quota = 1};
  CHECK(options.on_quota == weir::PluginQuota::wait);
  CHECK(name_of(weir::PluginStuck::Kind::handler) == "handler");
  CHECK(name_of(weir::PluginStuck::Kind::event) == "event");
}
