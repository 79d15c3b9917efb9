/// Two channels and coroutines that select, under the model checker. The select is the library's own, its claim an
/// atomic of the model's; each coroutine runs on a home, which a thread of the model runs.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <weir/channel/select.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

#include "support/model/channel_world.hpp"
#include "support/model/home_context.hpp"

namespace weir_test::model {

/// Taken twice without being given back, it would wake twice.
class ClaimFlag : public Atomic<bool> {
 public:
  using Atomic::Atomic;

  bool exchange(bool value, std::memory_order order) {
    const bool before = Atomic::exchange(value, order);
    if (!before) count();
    return before;
  }
  void store(bool value, std::memory_order order) {
    Atomic::store(value, order);
    if (value) {
      count();
    } else {
      taken_ = false;
    }
  }

 private:
  void count() { require(!std::exchange(taken_, true), "a claim was taken twice"); }

  bool taken_ = false;
};

template <bool HeavyFence>
struct SelectWorld : Scenario {
  using Channel = ChannelWorld<HeavyFence>;
  using Core = typename Channel::Core;
  using Kind = Sync<HeavyFence>;
  using Received = std::optional<Value>;

  SelectWorld(std::size_t capacity, std::size_t buffered) : a(capacity, buffered), b(capacity, buffered) {
    a.add_sender();
    a.add_receiver();
    b.add_sender();
    b.add_receiver();
  }

  /// A coroutine that selects, and the thread that runs its home. It starts with the scenario, so that another thread
  /// may cancel it at any moment.
  void selects(std::function<weir::Task<>()> body) {
    roots_.push_back(std::make_unique<Root>());
    Root& root = *roots_.back();
    root.body = std::move(body);
    weir::spawn(root.home.get_executor(), root.body(),
                asio::bind_cancellation_slot(root.cancellation.slot(), [&root](std::exception_ptr error) {
                  root.ended = true;
                  root.error = std::move(error);
                }));
    threads.push_back([&root] {
      while (!root.ended) root.home.run_one();
      require(!root.error, "the coroutine ended with an exception");
    });
  }
  /// Cancels the first one. Any thread.
  void cancel() { roots_.front()->cancellation.emit(asio::cancellation_type::terminal); }

  template <class... Ops>
  [[nodiscard]] auto select(Ops... ops) const {
    return weir::detail::Selection<ClaimFlag, Ops...>(true, std::move(ops)...);
  }
  [[nodiscard]] static auto receive_from(Channel& channel) {
    return weir::detail::Operation<weir::detail::ReceiveAwaiter<Value, Kind>, Core>(channel.core);
  }
  [[nodiscard]] static auto send_to(Channel& channel, Value& value) {
    using Source = weir::detail::MoveFrom<Value>;
    return weir::detail::Operation<weir::detail::SendAwaiter<Value, Kind, Source>, Core, Source>(channel.core,
                                                                                                 Source{&value});
  }
  /// A value that a select gave: by party `who`, from `channel`.
  static void got(Channel& channel, const Received& value, std::size_t who = 0) {
    if (value) channel.got[who].push_back(value->get());
  }

  void check() override {
    a.check();
    b.check();
    if (also) also();
  }

  Channel a;
  Channel b;
  std::function<void()> also;

 private:
  struct Root {
    std::function<weir::Task<>()> body;
    asio::cancellation_signal cancellation;
    bool ended = false;
    std::exception_ptr error;
    /// Its end destroys the coroutine, if it has not ended.
    HomeContext home;
  };
  std::vector<std::unique_ptr<Root>> roots_;
};

}  // namespace weir_test::model
