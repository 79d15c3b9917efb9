/// A channel's core under the model checker, worked on as its handles and awaiters do it, and what must hold after
/// every execution whatever was done.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <weir/channel/detail/core.hpp>

#include "support/model/checker.hpp"
#include "support/model/sync.hpp"

namespace weir_test::model {

using weir::detail::AtOnce;
using weir::detail::Known;
using weir::detail::WaitState;

template <bool HeavyFence>
struct ChannelWorld : Scenario {
  using Core = weir::detail::ChannelCore<Value, Sync<HeavyFence>>;
  using SendWaiter = weir::detail::SendWaiter;
  using ReceiveWaiter = weir::detail::ReceiveWaiter<Value>;

  /// `buffered` values are in it. The gates are open, unless it is `cold`: then not even its ring is there.
  explicit ChannelWorld(std::size_t capacity, std::size_t buffered = 0, bool cold = false) : core(make(capacity)) {
    core.retain();
    if (cold) return;
    // The take side has passed a slot.
    core.send([](void* slot) { ::new (slot) Value(first_of(setup)); }, AtOnce());
    core.receive([](Value& value) { static_cast<void>(Value(std::move(value))); }, AtOnce());
    int next = first_of(setup);
    core.send_some_at_once(buffered, [&next](Value* slots, std::size_t n, std::size_t& built) {
      for (; built < n; ++built) ::new (slots + built) Value(++next);
    });
    admitted_before = 1 + buffered;
    values_before = buffered;
  }
  ~ChannelWorld() override {
    while (senders-- > 0) core.drop_sender();
    while (receivers-- > 0) core.drop_receiver();
    core.release();
  }

  // Handles, as counts: what is left is dropped at the end.

  void add_sender() {
    core.add_sender();
    ++senders;
  }
  void drop_sender() {
    --senders;
    core.drop_sender();
  }
  void add_receiver() {
    core.add_receiver();
    ++receivers;
  }
  void drop_receiver() {
    --receivers;
    core.drop_receiver();
  }

  // Operations, by party `who`, of values first_of(who), first_of(who) + 1, ...

  static constexpr std::size_t setup = 9;
  [[nodiscard]] static int first_of(std::size_t who) { return static_cast<int>(who) * 1000; }

  bool try_send(std::size_t who) {
    const int n = first_of(who) + static_cast<int>(sent[who]);
    const auto build = [n](void* slot) { ::new (slot) Value(n); };
    WaitState state = core.send_at_once(build);
    if (state == WaitState::idle) state = core.send(build, AtOnce());
    if (state == WaitState::done) ++sent[who];
    return state == WaitState::done;
  }
  WaitState send(std::size_t who) {
    SendWaiting waiting(*this, first_of(who) + static_cast<int>(sent[who]));
    const auto build = [&waiting](void* slot) { waiting.build(slot); };
    WaitState state = core.send_at_once(build);
    if (state != WaitState::done) state = waiting.wait(core.send(build, Known{&waiting}));
    if (state == WaitState::done) ++sent[who];
    return state;
  }
  /// Room kept: false: closed.
  bool reserve() {
    SendWaiting waiting(*this, 0);
    waiting.transfer = nullptr;
    return waiting.wait(core.reserve(Known{&waiting})) == WaitState::done;
  }
  bool send_reserved(std::size_t who) {
    const int n = first_of(who) + static_cast<int>(sent[who]);
    if (!core.send_reserved([n](void* slot) { ::new (slot) Value(n); })) return false;
    ++sent[who];
    return true;
  }
  std::size_t send_some_at_once(std::size_t who, std::size_t max) {
    return core.send_some_at_once(max, [this, who](Value* slots, std::size_t n, std::size_t& built) {
      for (; built < n; ++built) ::new (slots + built) Value(first_of(who) + static_cast<int>(sent[who]++));
    });
  }

  bool try_receive(std::size_t who) {
    if (Value* const front = core.front_at_once()) return take_front(who, *front);
    const auto take = [this, who](Value& value) { got[who].push_back(Value(std::move(value)).get()); };
    return core.receive(take, AtOnce()) == WaitState::done;
  }
  /// False: closed and drained.
  bool receive(std::size_t who) {
    if (Value* const front = core.front_at_once()) return take_front(who, *front);
    ReceiveWaiting waiting(*this);
    return begin_receive(waiting) != WaitState::queued ? take_from(who, waiting) : end_receive(who, waiting);
  }
  /// Waits, and takes itself back at once: true when a value came all the same.
  bool receive_and_cancel(std::size_t who) {
    if (Value* const front = core.front_at_once()) return take_front(who, *front);
    ReceiveWaiting waiting(*this);
    if (begin_receive(waiting) != WaitState::queued) return take_from(who, waiting);
    if (core.cancel_receive(waiting)) {
      --waiting.waits;
      return false;
    }
    return end_receive(who, waiting);
  }
  std::size_t receive_some_at_once(std::size_t who, std::size_t max) {
    return core.receive_some_at_once(max, [this, who](Value* values, std::size_t n, std::size_t& used) {
      for (; used < n; ++used) got[who].push_back(values[used].get());
    });
  }

  void check() override {
    const weir::ChannelStats stats = core.stats();
    expect(stats.admitted == stats.received + stats.buffered + stats.dropped, "the counters do not add up");
    expect(stats.buffered <= stats.capacity, "more buffered than there is room for");
    expect(stats.waiting_senders == 0 && stats.waiting_receivers == 0, "somebody waits who was not to");
    expect(stats.reserved == permits_left, "permits are counted wrong");
    expect(unwoken == 0, "a waiter was not woken once");

    if (also) also(stats);

    std::vector<int> left;
    const auto take = [&left](Value* values, std::size_t n, std::size_t& used) {
      for (; used < n; ++used) left.push_back(values[used].get());
    };
    WaitState state = WaitState::idle;
    if (stats.buffered > 0) core.receive_some(take, stats.capacity, AtOnce(), state);
    expect(left.size() == stats.buffered, "what is buffered is not what is left");

    std::size_t sent_in_all = admitted_before;
    for (const std::size_t n : sent) sent_in_all += n;
    expect(stats.admitted == sent_in_all, "what was sent is not what was admitted");
    std::size_t received = admitted_before - values_before;
    for (const auto& values : got) received += values.size();
    expect(stats.received == received, "what was received is not what was counted");

    check_order(left);
  }

  [[nodiscard]] static Core& make(std::size_t capacity) {
    return *new weir::detail::ChannelBlock<Value, Sync<HeavyFence>, asio::any_io_executor>(
        {}, weir::ChannelOptions{.capacity = capacity});
  }

  Core& core;
  std::array<std::size_t, max_threads> sent{};
  std::array<std::vector<int>, max_threads> got;
  std::size_t permits_left = 0;
  int senders = 0;
  int receivers = 0;
  /// What the scenario wants besides.
  std::function<void(const weir::ChannelStats&)> also;

  static void expect(bool condition, const char* what) {
    if (!condition) throw Failure(what);
  }

 private:
  /// What an operation needs to wait. Counted, so that it is woken once if it waits, and else never.
  struct Waiting {
    explicit Waiting(ChannelWorld& w) : world(w) { ++world.unwoken; }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
      if (event.signals() == waits) --world.unwoken;
    }
    ChannelWorld& world;
    Event event;
    std::uint64_t waits = 0;
  };
  struct SendWaiting : SendWaiter, Waiting {
    SendWaiting(ChannelWorld& w, int n) : SendWaiter(wake, &build_in), Waiting(w), value(n) {}
    static void woken(weir::WakeList::Deferred& fired) noexcept {
      static_cast<SendWaiting&>(static_cast<SendWaiter&>(weir::detail::waiter_of(fired))).event.signal();
    }
    static bool build_in(SendWaiter& self, void* slot) {
      static_cast<SendWaiting&>(self).build(slot);
      return true;
    }
    void build(void* slot) { ::new (slot) Value(std::move(value)); }
    WaitState wait(WaitState attempt) {
      if (attempt != WaitState::queued) return attempt;
      ++this->waits;
      this->event.wait();
      return this->state;
    }
    weir::detail::HandlerWake wake{*this, &woken};
    Value value;
  };
  struct ReceiveWaiting : ReceiveWaiter, Waiting {
    explicit ReceiveWaiting(ChannelWorld& w) : ReceiveWaiter(wake), Waiting(w) {}
    static void woken(weir::WakeList::Deferred& fired) noexcept {
      static_cast<ReceiveWaiting&>(static_cast<ReceiveWaiter&>(weir::detail::waiter_of(fired))).event.signal();
    }
    weir::detail::HandlerWake wake{*this, &woken};
  };

  bool take_front(std::size_t who, Value& front) {
    const int n = Value(std::move(front)).get();
    core.took_front(nullptr);
    got[who].push_back(n);
    return true;
  }
  WaitState begin_receive(ReceiveWaiting& waiting) {
    const auto keep = [&waiting](Value& value) {
      ::new (waiting.slot()) Value(std::move(value));
      waiting.has_value = true;
    };
    const WaitState state = core.receive(keep, Known{&waiting});
    if (state == WaitState::queued) ++waiting.waits;
    return state;
  }
  bool end_receive(std::size_t who, ReceiveWaiting& waiting) {
    waiting.event.wait();
    require(waiting.has_value == (waiting.state == WaitState::done), "woken with another outcome than it has");
    return take_from(who, waiting);
  }
  bool take_from(std::size_t who, ReceiveWaiting& waiting) {
    if (!waiting.has_value) return false;
    waiting.give([this, who](Value& value) { got[who].push_back(value.get()); });
    return true;
  }

  /// Each value came once, and each receiver got those of one sender in their order, before those that are left.
  void check_order(const std::vector<int>& left) const {
    std::vector<int> all = left;
    for (const auto& values : got) {
      all.insert(all.end(), values.begin(), values.end());
      std::vector<int> then = values;
      then.insert(then.end(), left.begin(), left.end());
      expect(in_order(then), "values are out of order");
    }
    std::sort(all.begin(), all.end());
    expect(std::adjacent_find(all.begin(), all.end()) == all.end(), "a value came twice");
  }
  [[nodiscard]] static bool in_order(const std::vector<int>& values) {
    std::array<int, setup + 1> last{};
    for (const int n : values) {
      if (std::exchange(last.at(static_cast<std::size_t>(n / 1000)), n + 1) > n) return false;
    }
    return true;
  }

  std::size_t admitted_before = 0;
  std::size_t values_before = 0;
  std::size_t unwoken = 0;
};

}  // namespace weir_test::model
