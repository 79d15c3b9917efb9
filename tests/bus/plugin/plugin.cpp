// A plugin that does all that one can do, with types and functions of its own. Built twice, as two plugins.
#include "interface.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <weir/core/timer.hpp>

using namespace std::chrono_literals;
using weir::Task;
using weir_test::PluginTally;

namespace {

/// Of a copy of the library in this object: it goes with it.
struct FrameMemory {
  ~FrameMemory() { weir::release_frame_memory(); }
} const frame_memory;

/// Its constructors and its destructor are in this object.
class Counted {
 public:
  explicit Counted(PluginTally& tally) : tally_(&tally) { count(1); }
  Counted(const Counted& other) : tally_(other.tally_) { count(1); }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { count(-1); }

 private:
  void count(int n) {
    tally_->alive += n;
    if (tally_->gone) ++tally_->ghosts;
  }
  PluginTally* tally_;
};

struct Report {
  Report(PluginTally& tally, std::string t) : counted(tally), text(std::move(t)) {}
  Counted counted;
  std::string text;
};

struct OwnError : std::runtime_error {
  OwnError(PluginTally& tally, const char* what) : std::runtime_error(what), counted(tally) {}
  Counted counted;
};

constexpr weir::Topic<Report> report{WEIR_TEST_PLUGIN ".report"};

Task<> answer(weir::PluginScope& scope, PluginTally& tally, std::uint64_t n) {
  const Counted here(tally);
  ++tally.calls;
  if (n % 3 == 0) co_await weir::yield();
  if (n % 7 == 0) throw OwnError(tally, "seven");
  co_await scope.publish(WEIR_TEST_PLUGIN ".answer", std::string("for the host"));
}

Task<> chatter(weir::PluginScope& scope, PluginTally& tally, Counted) {
  for (std::uint64_t n = 0;; ++n) {
    weir::Event event(report.name(), Report(tally, "a text that is allocated by the plugin"),
                      weir::EventPriority::critical);
    event.key("reports").metadata("n", std::to_string(n)).token(scope.token());
    co_await scope.publish(std::move(event));
    ++tally.published;
    const auto ticket = co_await scope.publish_cancellable(WEIR_TEST_PLUGIN ".more", Report(tally, "more"));
    if (n % 2 == 0) ticket.cancel();
    scope.try_publish(WEIR_TEST_PLUGIN ".tried", Report(tally, "tried"));
    if (n % 16 == 0) co_await weir::sleep_for(100us);
  }
}

Task<> tick(PluginTally& tally) {
  ++tally.ticks;
  co_await weir::sleep_for(50us);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void weir_test_start(weir::PluginScope& scope, PluginTally& tally) {
  // The scope takes them out at its end; until then they stay, though nobody holds the subscriptions.
  static weir::Subscription subscriptions[4];
  subscriptions[0] = scope.subscribe("host.*", [&scope, &tally, counted = Counted(tally)](weir::EventContext& event) {
    return answer(scope, tally, event.payload<std::uint64_t>());
  });
  subscriptions[1] = scope.subscribe(report, [counted = Counted(tally)](const Report& r) {
    if (r.text.empty()) throw std::logic_error("the payload has been lost");
  });
  subscriptions[2] = scope.subscribe_if(
      "host.a", [counted = Counted(tally)](const weir::Event& event) { return event.id() % 2 == 0; },
      [&tally](weir::EventContext&) { throw OwnError(tally, "plainly"); });
  subscriptions[3] = scope.subscribe("*.answer", [](weir::EventContext&) {}, {.once = true});
  scope.spawn(chatter(scope, tally, Counted(tally)), "chatter");
  scope.every(200us, [&tally, counted = Counted(tally)] { return tick(tally); });
  scope.after(1h, [counted = Counted(tally)] {});
}
