#include <weir/channel/select.hpp>

#include <chrono>
#include <memory>
#include <vector>

#include <weir/core/time_service.hpp>
#include <weir/core/timer.hpp>

#include "channel/alloc_failure_scene.hpp"
#include "support/alloc_failure.hpp"
#include "support/catch.hpp"

namespace {

using namespace alloc_failure;
using namespace std::chrono_literals;
using weir::after;
using weir::Errc;
using weir::select;
using weir::Task;
using weir::TimeService;
using weir::when;
using weir_test::require;
using weir_test::Stage;

/// A clock that goes when it is told to.
class Clock {
 public:
  explicit Clock(Stage& stage) : service_(asio::use_service<TimeService>(context_of(stage))) {
    service_.set_backend(std::make_unique<Hands>(*this));
  }
  void advance(Stage& stage, TimeService::Duration by) {
    now_ += by;
    service_.expire();
    stage.poll();
  }

 private:
  struct Hands : TimeService::Backend {
    explicit Hands(Clock& c) noexcept : clock(c) {}
    [[nodiscard]] TimeService::TimePoint now() const noexcept override { return clock.now_; }
    void wake_at(TimeService::TimePoint) override {}
    Clock& clock;
  };
  static asio::execution_context& context_of(Stage& stage) {
    return asio::query(stage.executor(), asio::execution::context);
  }

  TimeService::TimePoint now_{};
  TimeService& service_;
};

/// What a timed operation that found no memory for its deadline does once more.
template <class F>
Task<bool> in_time(F operation) {
  try {
    co_await operation();
  } catch (const weir::Error& error) {
    if (error.code() != Errc::timed_out) throw;
    co_return false;
  }
  co_return true;
}

Task<> send_each_in_time(Tx tx, int first, int count, Tally& tally) {
  for (int i = first; i < first + count; ++i) {
    auto value = std::make_unique<int>(i);
    try {
      while (!co_await in_time([&] { return tx.send_for(std::move(value), 1ms); })) {
        require(value && *value == i, "a value that was not sent in time is not with the sender");
      }
    } catch (...) {
      require(!value || *value == i, "a value that was not sent is not with the sender");
      if (!value) tally.gave(i);
      throw;
    }
    tally.gave(i);
  }
}

Task<> receive_each_in_time(Rx rx, Tally& tally) {
  for (int idle = 0; idle < 9;) {
    std::optional<Value> value;
    try {
      value = co_await rx.receive_for(1ms);
    } catch (const weir::Error& error) {
      if (error.code() != Errc::timed_out) throw;
      ++idle;
      continue;
    }
    if (!value) break;
    tally.got(*value);
  }
}

TEST_CASE("alloc failure: sends and receives with a deadline", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          Tally tally;
          Clock clock(stage);
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
            for (int i = 0; i < 2; ++i) {
              start(stage, tally, [tx, i, &tally] { return send_each_in_time(tx, 10 * i, 3, tally); });
            }
            stage.poll();
            for (int i = 0; i < 2; ++i) clock.advance(stage, 2ms);
            start(stage, tally, [rx, &tally] { return receive_each_in_time(rx, tally); });
            stage.poll();
            for (int i = 0; i < 3; ++i) clock.advance(stage, 2ms);
            tx.close();
            drain(stage, rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        12);
}

TEST_CASE("alloc failure: runs and permits with a deadline", "[alloc-failure]") {
  check(weir_test::fail_each([](Stage& stage) {
          Tally tally;
          Clock clock(stage);
          {
            auto [tx, rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
            start(stage, tally, [tx, &tally]() -> Task<> {
              for (int i = 0; i < 3; ++i) {
                auto value = std::make_unique<int>(i);
                auto permit = co_await tx.reserve_for(1h);
                permit.send(std::move(value));
                tally.gave(i);
              }
            });
            start(stage, tally, [tx, &tally]() -> Task<> {
              std::vector<Value> values;
              for (int i = 10; i < 15; ++i) values.push_back(std::make_unique<int>(i));
              try {
                co_await tx.send_all_for(std::move(values), 3ms);
              } catch (const std::system_error&) {
              } catch (const std::bad_alloc&) {
              }
              for (int i = 0; i < static_cast<int>(values.size()); ++i) {
                if (!values[static_cast<std::size_t>(i)]) tally.gave(10 + i);
              }
            });
            stage.poll();
            clock.advance(stage, 2ms);
            start(stage, tally, [rx, &tally]() -> Task<> {
              std::vector<Value> out;
              {
                const weir_test::Reliable now;
                out.reserve(4);
              }
              for (;;) {
                if (co_await rx.receive_some_for(out, 2, 1h) == 0) break;
                for (const auto& value : out) tally.got(value);
                out.clear();
              }
            });
            stage.poll();
            clock.advance(stage, 2ms);
            require(rx.stats().reserved == 0, "a permit was not given back");
            tx.close();
            drain(stage, rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        12);
}

TEST_CASE("alloc failure: selects of sends, permits, receives, runs and times", "[alloc-failure]") {
  const bool timed = GENERATE(false, true);
  check(weir_test::fail_each([timed](Stage& stage) {
          Tally tally;
          Clock clock(stage);
          {
            auto [a_tx, a_rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
            auto [b_tx, b_rx] = weir::make_channel<Value>(stage.executor(), {.capacity = 1});
            start(stage, tally, [a = a_tx, b = b_tx, timed, &tally]() -> Task<> {
              for (int i = 0; i < 4;) {
                auto value = std::make_unique<int>(i);
                std::size_t won = 2;
                try {
                  const auto done =
                      co_await select(a.send(std::move(value)), b.send(std::move(value)), when(timed, after(1ms)));
                  won = done.index();
                } catch (...) {
                  require(value && *value == i, "a value that was not sent is not with the sender");
                  throw;
                }
                require((won == 2) == (value != nullptr), "a value is not where it should be");
                if (won != 2) tally.gave(i++);
              }
            });
            start(stage, tally, [a = a_tx, b = b_tx, &tally]() -> Task<> {
              for (int i = 10; i < 14; ++i) {
                auto value = std::make_unique<int>(i);
                auto done = co_await select(a.reserve(), b.reserve());
                (done.index() == 0 ? std::get<0>(done) : std::get<1>(done)).send(std::move(value));
                tally.gave(i);
              }
            });
            stage.poll();
            for (int i = 0; i < 2; ++i) clock.advance(stage, 2ms);
            start(stage, tally, [a = a_rx, b = b_rx, timed, &tally]() -> Task<> {
              std::vector<Value> run;
              {
                const weir_test::Reliable now;
                run.reserve(4);
              }
              for (bool first = true, second = true; first || second;) {
                const auto done = co_await select(when(first, a.receive()), when(second, b.receive_some(run, 2)),
                                                  when(timed, after(1ms)));
                if (done.index() == 0) {
                  first = std::get<0>(done).has_value();
                  if (first) tally.got(*std::get<0>(done));
                }
                if (done.index() == 1) {
                  second = std::get<1>(done) != 0;
                  for (const auto& value : run) tally.got(value);
                  run.clear();
                }
              }
            });
            stage.poll();
            for (int i = 0; i < 2; ++i) clock.advance(stage, 2ms);
            require(a_rx.stats().reserved == 0 && b_rx.stats().reserved == 0, "a permit was not given back");
            a_tx.close();
            b_tx.close();
            drain(stage, a_rx, tally);
            drain(stage, b_rx, tally);
          }
          stage.poll();
          tally.check();
        }),
        12);
}

}  // namespace
