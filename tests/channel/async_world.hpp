// Senders and receivers by completion token, beside a coroutine at each end, for the simulator. `Line` says what they
// are parties of: a channel, or a broadcast.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/asio.hpp>
#include <weir/core/task.hpp>
#include <weir/sim/explore.hpp>

#include "channel/support.hpp"

namespace channel_test {

struct AsyncScene {
  enum class Act { nothing, cancel, close, destroy } act = Act::nothing;
  /// Whose slot it is: senders first.
  std::size_t victim = 0;
};

/// A `Line` has: `Value`; `send(who, Value, token)`, `receive(who, token)`, by token; `send(Value&)`, `receive(who)`,
/// by coroutine; `make(id)`, `id(value)`, `close()`, `closed()`; `check()`, at each step; `left(who)`, what is there.
template <class Line>
class AsyncWorld {
  using Simulator = weir::sim::Simulator;
  using Value = typename Line::Value;

 public:
  static constexpr std::size_t parties = 2;  ///< by token, at each end; the coroutine is one more
  static constexpr int values = 2;           ///< of each sender

  AsyncWorld(Simulator& sim, const AsyncScene& scene)
      : sim_(sim), scene_(scene), line_(sim, parties + 1), handlers_(std::make_shared<int>()) {
    for (std::size_t i = 0; i < parties; ++i) send_next(i, 0);
    for (std::size_t i = 0; i < parties; ++i) receive_next(i);
    weir::spawn(sim, sends(), asio::detached);
    weir::spawn(sim, receives(), asio::detached);
  }

  void act() {
    switch (scene_.act) {
      case AsyncScene::Act::nothing:
        return;
      case AsyncScene::Act::cancel:
        cancelled_ = true;
        return signals_[scene_.victim].emit(asio::cancellation_type::all);
      case AsyncScene::Act::close:
        return line_.close();
      case AsyncScene::Act::destroy:
        return sim_.stop();
    }
  }
  void check() {
    line_.check();
    if (sending_ == 0) line_.close();
  }
  void check_end() {
    if (sim_.stopped()) {
      weir::sim::ensure(handlers_.use_count() == 1, "a handler was not destroyed with its context");
    } else {
      weir::sim::ensure(called_ == started_ && handlers_.use_count() == 1, "a handler was not called");
      weir::sim::ensure(ended_ == parties + 1, "a receiver did not see the end");
    }
    for (std::size_t i = 0; i <= parties; ++i) {
      for (const int id : line_.left(i)) got(i, id);
    }
    line_.check_end(sent_, received_, sim_.stopped());
  }

 private:
  /// Counted while it is there.
  template <class F>
  auto handler(std::size_t slot, F f) {
    ++started_;
    return asio::bind_cancellation_slot(
        signals_[slot].slot(),
        asio::bind_executor(sim_.get_executor(), [this, alive = handlers_, f](std::error_code error, auto value) {
          weir::sim::ensure(!inside_, "a handler was called inside another call");
          ++called_;
          f(error, std::move(value));
        }));
  }
  template <class F>
  void call(F&& f) {
    const bool before = std::exchange(inside_, true);
    f();
    inside_ = before;
  }

  void send_next(std::size_t who, int n) {
    if (n == 0) ++sending_;
    if (n == values) {
      --sending_;
      return;
    }
    send(who, n, line_.make(id_of(who, n)));
  }
  void send(std::size_t who, int n, Value value) {
    auto done = [this, who, n](std::error_code error, std::optional<Value> back) {
      weir::sim::ensure(static_cast<bool>(error) == back.has_value(), "a value is not where it should be");
      if (!error) {
        sent_.insert(id_of(who, n));
        return send_next(who, n + 1);
      }
      weir::sim::ensure(line_.id(*back) == id_of(who, n), "another value came back");
      if (error == asio::error::operation_aborted) {
        weir::sim::ensure(std::exchange(cancelled_, false) && scene_.victim == who, "another was cancelled");
        return send(who, n, std::move(*back));
      }
      weir::sim::ensure(error == Errc::channel_closed && line_.closed(), "an error nobody expects");
      --sending_;
    };
    call([&] { line_.send(who, std::move(value), handler(who, std::move(done))); });
  }
  void receive_next(std::size_t who) {
    auto done = [this, who](std::error_code error, std::optional<Value> value) {
      weir::sim::ensure(!error || !value, "a value with an error");
      if (error) {
        weir::sim::ensure(error == asio::error::operation_aborted, "an error nobody expects");
        weir::sim::ensure(std::exchange(cancelled_, false) && scene_.victim == parties + who, "another was cancelled");
      } else if (value) {
        got(who, line_.id(*value));
      } else {
        ++ended_;
        return;
      }
      receive_next(who);
    };
    call([&] { line_.receive(who, handler(parties + who, std::move(done))); });
  }
  Task<> sends() {
    struct Sending {
      explicit Sending(std::size_t& n) : left(n) { ++left; }
      Sending(const Sending&) = delete;
      Sending& operator=(const Sending&) = delete;
      ~Sending() { --left; }
      std::size_t& left;
    } const sending(sending_);
    for (int n = 0; n < values; ++n) {
      auto value = line_.make(id_of(parties, n));
      co_await line_.send(value);
      sent_.insert(id_of(parties, n));
    }
  }
  Task<> receives() {
    while (const auto value = co_await line_.receive(parties)) got(parties, line_.id(*value));
    ++ended_;
  }

  static int id_of(std::size_t who, int n) { return static_cast<int>(who) * 10 + n; }
  void got(std::size_t who, int id) {
    weir::sim::ensure(received_[who].insert(id).second, "a value was received twice");
  }

  Simulator& sim_;
  const AsyncScene scene_;
  Line line_;
  std::shared_ptr<int> handlers_;
  asio::cancellation_signal signals_[2 * parties];
  bool inside_ = false;
  bool cancelled_ = false;
  std::size_t sending_ = 0;
  std::size_t started_ = 0;
  std::size_t called_ = 0;
  std::size_t ended_ = 0;
  std::set<int> sent_;
  std::map<std::size_t, std::set<int>> received_;
};

template <class Line>
auto async_scenario(AsyncScene scene) {
  return [scene](weir::sim::Simulator& sim) {
    auto& kept = sim.keep<std::unique_ptr<AsyncWorld<Line>>>(std::make_unique<AsyncWorld<Line>>(sim, scene));
    sim.on_step([&kept] { kept->check(); });
    sim.on_action([&kept] { kept->act(); });
    sim.run();
    if (sim.stopped()) sim.shut_down();
    kept->check_end();
    kept.reset();
    Line::check_gone();
  };
}

/// Under random schedules and by PCT; then with a cancel by each slot, a close, and the end of the context, each at
/// every step.
template <class Line>
void explore_async() {
  using weir::sim::explore;
  using weir::sim::explore_each_step;
  explore(async_scenario<Line>({}));
  explore({.seeds = 1000, .scheduling = {.pct_depth = 3}}, async_scenario<Line>({}));
  AsyncScene scene{.act = AsyncScene::Act::cancel};
  for (; scene.victim < 2 * AsyncWorld<Line>::parties; ++scene.victim) explore_each_step(async_scenario<Line>(scene));
  for (const auto act : {AsyncScene::Act::close, AsyncScene::Act::destroy}) {
    explore_each_step(async_scenario<Line>({.act = act}));
  }
}

}  // namespace channel_test
