// How long a coroutine goes on with operations that are done at once.
#include <weir/channel/channel.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/core/turns.hpp>

#include "support/long_turn.hpp"

namespace {

using weir::Task;

constexpr int budget = 4;
constexpr int values = 32;

/// The longest of the turns that two parties take.
class Turns {
 public:
  void step(int party) {
    run_ = last_ == party ? run_ + 1 : 1;
    last_ = party;
    longest_ = std::max(longest_, run_);
  }
  [[nodiscard]] int longest() const { return longest_; }

 private:
  int last_ = -1;
  int run_ = 0;
  int longest_ = 0;
};

/// The most values that one of two senders put in one turn, each into a channel of its own, of which others may hold
/// the sending end too.
int longest_turn_of_senders(bool by_time, bool alone) {
  asio::io_context context;
  weir::set_turns(context, {.budget = budget, .by_time = by_time});
  Turns turns;
  std::vector<weir::ChannelReceiver<int>> receivers;
  std::vector<weir::ChannelSender<int>> others;
  for (int which = 0; which < 2; ++which) {
    auto [tx, rx] = weir::make_channel<int>(context.get_executor(), {.capacity = 2 * values});
    receivers.push_back(std::move(rx));
    if (!alone) others.push_back(tx);
    weir::spawn(context, [&, which, end = std::move(tx)]() -> Task<> {
      for (int i = 0; i < values; ++i) {
        turns.step(which);
        co_await end.send_emplace(i);
      }
    });
  }
  context.run();
  return turns.longest();
}

/// The same of two receivers.
int longest_turn_of_receivers(bool by_time, bool alone) {
  asio::io_context context;
  weir::set_turns(context, {.budget = budget, .by_time = by_time});
  Turns turns;
  std::vector<weir::ChannelSender<int>> senders;
  std::vector<weir::ChannelReceiver<int>> others;
  for (int which = 0; which < 2; ++which) {
    auto [tx, rx] = weir::make_channel<int>(context.get_executor(), {.capacity = values});
    for (int i = 0; i < values; ++i) REQUIRE(tx.try_send(i));
    senders.push_back(std::move(tx));
    if (!alone) others.push_back(rx);
    weir::spawn(context, [&, which, end = std::move(rx)]() -> Task<> {
      for (int i = 0; i < values; ++i) {
        turns.step(which);
        const auto value = co_await end.receive();
        CHECK(value.has_value());
      }
    });
  }
  context.run();
  return turns.longest();
}

/// The machine may take the processor away for as long as a turn, and a sanitizer makes few operations long.
template <class Measure>
bool exceeds_the_budget(Measure measure) {
  for (int tries = 0; tries < 1000; ++tries) {
    if (measure() > budget) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("channel turns: who shares its side gives way after its budget, and so does everybody without time") {
  CHECK(longest_turn_of_senders(true, false) <= budget);
  CHECK(longest_turn_of_senders(false, true) <= budget);
  CHECK(longest_turn_of_receivers(true, false) <= budget);
  CHECK(longest_turn_of_receivers(false, true) <= budget);
}

TEST_CASE("channel turns: who is alone on its side goes on while the turn is short") {
  if (!weir_test::turns_have_time()) return;
  CHECK(exceeds_the_budget([] { return longest_turn_of_senders(true, true); }));
  CHECK(exceeds_the_budget([] { return longest_turn_of_receivers(true, true); }));
}
