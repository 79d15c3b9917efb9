/// Two channels and a coroutine that selects, under the model checker. The select is the library's own, its claim an
/// atomic of the model's; the coroutine runs on a home, which thread 0 of the model runs.
#pragma once

#include <exception>
#include <functional>
#include <utility>
#include <variant>

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

  /// What thread 0 runs. It starts with the scenario, so that another thread may cancel it at any moment.
  void selects(std::function<weir::Task<>()> body) {
    body_ = std::move(body);
    weir::spawn(home.get_executor(), body_(),
                asio::bind_cancellation_slot(cancellation_.slot(), [this](std::exception_ptr error) {
                  ended_ = true;
                  error_ = std::move(error);
                }));
    threads.insert(threads.begin(), [this] {
      while (!ended_) home.run_one();
      require(!error_, "the coroutine ended with an exception");
    });
  }
  /// Any thread.
  void cancel() { cancellation_.emit(asio::cancellation_type::terminal); }

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
  /// A value that a select gave: by party 0, from `channel`.
  static void got(Channel& channel, const Received& value) {
    if (value) channel.got[0].push_back(value->get());
  }

  void check() override {
    a.check();
    b.check();
    if (also) also();
  }

  Channel a;
  Channel b;
  /// Its end destroys the coroutine, if it has not ended.
  HomeContext home;
  std::function<void()> also;

 private:
  asio::cancellation_signal cancellation_;
  std::function<weir::Task<>()> body_;
  bool ended_ = false;
  std::exception_ptr error_;
};

}  // namespace weir_test::model
