/// The operations that a `select` waits for, each of which can be done at once, wait beside others, and be taken back.
///
/// Protocol (`Choice` in waiter.hpp, and rule 6 of core.hpp):
///  1. `enter` puts the waiter in its channel's queue, one channel after the other, so that never two locks are held.
///     It may find that its operation can be done now: then it takes the claim itself, under the lock, and does it.
///  2. Who serves a waiter takes the claim first, under the lock of that waiter's channel. `lost`: it was taken for
///     another one; nothing was done, and nothing was moved.
///  3. `leave` takes the waiter out under the lock, if nobody else has. Only when all have left is the claim reset.
///  4. Who owns the select may take the claim as well, on its home: a timer, a cancel, the end of the frame.
/// tests/channel/select_test.cpp breaks when one of these is broken; model_check_select_test.cpp beside it tries every
/// interleaving of a select with those who serve, close and cancel it.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include <weir/channel/detail/receive_operations.hpp>
#include <weir/channel/detail/send_operations.hpp>
#include <weir/channel/detail/timed.hpp>

namespace weir::detail {

/// An operation that gives up what it is made of.
template <class Op>
concept AsCase = requires(Op& operation) { operation.take_core(); };

/// What the cases of a select know of it.
struct SelectCommon {
  explicit SelectCommon(Choice& c) noexcept : choice(c) {}

  /// The claim was taken by the select itself.
  void wake() noexcept { home().resume_here(choice.promise->resumable()); }
  [[nodiscard]] Home& home() const noexcept { return choice.promise->home(); }

  Choice& choice;
};

template <class T, class Sync>
class ReceiveCase {
  using Core = ChannelCore<T, Sync>;

 public:
  using Result = std::optional<T>;
  static constexpr bool is_timer = false;

  template <AsCase Op>
  explicit ReceiveCase(Op&& operation) : core_(operation.take_core()) {}
  ReceiveCase(const ReceiveCase&) = delete;
  ReceiveCase& operator=(const ReceiveCase&) = delete;
  ~ReceiveCase() {
    if (waiter_.has_value) core_->count_undelivered();
  }

  /// Without the channel's lock: false says nothing.
  [[nodiscard]] bool try_at_once() {
    T* const front = core_->front_at_once();
    if (!front) return false;
    try {
      keep(*front);
    } catch (...) {
      core_->kept_front();
      throw;
    }
    core_->took_front(nullptr);
    return true;
  }
  WaitState enter(SelectCommon& common) {
    waiter_.belongs_to(common.choice);
    entered_ = true;
    const WaitState how = core_->receive([this](T& value) { keep(value); }, Known{&waiter_});
    if (how == WaitState::closed) waiter_.state = how;
    return how;
  }
  void leave() noexcept {
    if (!std::exchange(entered_, false)) return;
    core_->cancel_receive(waiter_);
  }
  [[nodiscard]] bool won(const Choice& choice) const noexcept { return choice.winner == &waiter_; }
  void take(Result& result) {
    if (waiter_.has_value) {
      try {
        waiter_.give([&result](T& value) { result.emplace(std::move(value)); });
      } catch (...) {
        core_->count_undelivered();
        throw;
      }
    } else if (waiter_.state == WaitState::closed && core_->reason()) {
      std::rethrow_exception(core_->reason());
    }
  }
  void describe(std::string& text) const {
    text += "receive from ";
    core_->describe(text);
  }

 protected:
  void keep(T& value) {
    ::new (waiter_.slot()) T(std::move(value));
    waiter_.has_value = true;
  }

  const CoreRef<Core> core_;
  ReceiveWaiter<T> waiter_;

 private:
  bool entered_ = false;
};

/// Waits for one value, and takes those that are behind it when it has won.
template <class T, class Sync, class Out>
class ReceiveSomeCase : public ReceiveCase<T, Sync> {
 public:
  using Result = std::size_t;

  template <AsCase Op>
  explicit ReceiveSomeCase(Op&& operation)
      : ReceiveCase<T, Sync>(operation),
        run_(std::get<0>(std::move(operation.parts())), std::get<1>(operation.parts())) {}

  [[nodiscard]] bool try_at_once() { return run_.take_at_once(*this->core_); }
  void take(Result& result) {
    if (this->waiter_.has_value) {
      run_.take_woken(*this->core_, this->waiter_);
    } else if (run_.taken() == 0 && this->waiter_.state == WaitState::closed && this->core_->reason()) {
      std::rethrow_exception(this->core_->reason());
    }
    result = run_.taken();
  }

 private:
  RunOut<T, Out> run_;
};

/// A send to a channel, or to a broadcast.
template <class Core, class Source>
class SendCase {
 public:
  using Result = std::monostate;
  static constexpr bool is_timer = false;

  template <AsCase Op>
  explicit SendCase(Op&& operation)
      : core_(operation.take_core()), waiter_(std::get<0>(std::move(operation.parts()))) {}
  SendCase(const SendCase&) = delete;
  SendCase& operator=(const SendCase&) = delete;

  [[nodiscard]] bool try_at_once() {
    how_ = core_->send_at_once(waiter_.source);
    if (how_ == WaitState::done) return true;
    if (core_->waits_when_full()) return false;
    // These never wait: what they do now is their outcome.
    how_ = core_->send(waiter_.source, AtOnce());
    return true;
  }
  WaitState enter(SelectCommon& common) {
    waiter_.belongs_to(common.choice);
    entered_ = true;
    how_ = core_->send(waiter_.source, Known{&waiter_});
    return how_;
  }
  void leave() noexcept {
    if (!std::exchange(entered_, false)) return;
    core_->cancel_send(waiter_);
  }
  [[nodiscard]] bool won(const Choice& choice) const noexcept { return choice.winner == &waiter_; }
  void take(Result&) {
    if (waiter_.error) std::rethrow_exception(std::move(waiter_.error));
    const WaitState how = how_ == WaitState::queued ? waiter_.state : how_;
    if (how != WaitState::done) throw Error(failure_of(how));
  }
  void describe(std::string& text) const {
    text += "send to ";
    core_->describe(text);
  }

 private:
  struct Wait : SendWaiter {
    explicit Wait(Source&& s) : SendWaiter(&use_source), source(std::move(s)) {}
    static bool use_source(SendWaiter& self, void* slot) {
      static_cast<Wait&>(self).source(slot);
      return true;
    }
    [[no_unique_address]] Source source;
  };

  const CoreRef<Core> core_;
  bool entered_ = false;
  WaitState how_ = WaitState::idle;
  Wait waiter_;
};

template <class T, class Sync>
class ReserveCase {
  using Core = ChannelCore<T, Sync>;

 public:
  using Result = Permit<T, Sync>;
  static constexpr bool is_timer = false;

  template <AsCase Op>
  explicit ReserveCase(Op&& operation) : core_(operation.take_core()) {}
  ReserveCase(const ReserveCase&) = delete;
  ReserveCase& operator=(const ReserveCase&) = delete;
  ~ReserveCase() {
    if (outcome() == WaitState::done) core_->release_permit();
  }

  [[nodiscard]] bool try_at_once() {
    how_ = core_->reserve(AtOnce());
    return how_ == WaitState::done || !core_->waits_when_full();
  }
  WaitState enter(SelectCommon& common) {
    waiter_.belongs_to(common.choice);
    entered_ = true;
    how_ = core_->reserve(Known{&waiter_});
    return how_;
  }
  void leave() noexcept {
    if (!std::exchange(entered_, false)) return;
    core_->cancel_send(waiter_);
  }
  [[nodiscard]] bool won(const Choice& choice) const noexcept { return choice.winner == &waiter_; }
  void take(Result& result) {
    const WaitState how = outcome();
    if (how != WaitState::done) throw Error(failure_of(how));
    how_ = WaitState::idle;
    result = Result(core_);
  }
  void describe(std::string& text) const {
    text += "reserve in ";
    core_->describe(text);
  }

 private:
  [[nodiscard]] WaitState outcome() const noexcept { return how_ == WaitState::queued ? waiter_.state : how_; }

  const CoreRef<Core> core_;
  bool entered_ = false;
  WaitState how_ = WaitState::idle;
  SendWaiter waiter_{nullptr};
};

/// What `after` returns.
class After {
 public:
  explicit After(TimeService::Duration delay) noexcept : until(delay) {}
  Until until;
};

class TimerCase {
 public:
  using Result = std::monostate;
  static constexpr bool is_timer = true;

  explicit TimerCase(After&& after) noexcept : until_(after.until) {}
  TimerCase(const TimerCase&) = delete;
  TimerCase& operator=(const TimerCase&) = delete;

  [[nodiscard]] bool try_at_once() const noexcept { return false; }
  WaitState enter(SelectCommon& common) {
    common_ = &common;
    Home& home = common.home();
    try {
      // Begun again, it goes on with the time that it had.
      until_ = Until(until_.of(asio::use_service<TimeService>(home.context())));
      if (alarm_.arm(home, until_, this, &ring)) return WaitState::queued;
    } catch (...) {
      if (common.choice.claim(nullptr)) throw;
      return WaitState::lost;
    }
    if (!common.choice.claim(nullptr)) return WaitState::lost;
    rang_ = true;
    return WaitState::done;
  }
  void leave() noexcept { alarm_.disarm(); }
  [[nodiscard]] bool won(const Choice&) const noexcept { return rang_; }
  void take(Result&) const noexcept {}
  void describe(std::string& text) const { text += "a time"; }

 private:
  static void ring(void* owner) noexcept {
    auto& me = *static_cast<TimerCase*>(owner);
    if (!me.common_->choice.claim(nullptr)) return;
    me.rang_ = true;
    me.common_->wake();
  }

  Until until_;
  bool rang_ = false;
  SelectCommon* common_ = nullptr;
  Alarm alarm_;
};

/// What `when` returns.
template <class Op>
class Guarded {
 public:
  Guarded(bool takes_part, Op&& op) : enabled(takes_part), operation(std::move(op)) {}
  bool enabled;
  Op operation;
};

template <class Op>
struct CaseOf {};
template <class T, class Sync>
struct CaseOf<Operation<ReceiveAwaiter<T, Sync>, ChannelCore<T, Sync>>> {
  using type = ReceiveCase<T, Sync>;
};
template <class T, class Sync, class Out>
struct CaseOf<Operation<ReceiveSomeAwaiter<T, Sync, Out>, ChannelCore<T, Sync>, Out, std::size_t>> {
  using type = ReceiveSomeCase<T, Sync, Out>;
};
template <class T, class Sync, class Source>
struct CaseOf<Operation<SendAwaiter<T, Sync, Source>, ChannelCore<T, Sync>, Source>> {
  using type = SendCase<ChannelCore<T, Sync>, Source>;
};
template <class T, class Sync>
struct CaseOf<Operation<ReserveAwaiter<T, Sync>, ChannelCore<T, Sync>>> {
  using type = ReserveCase<T, Sync>;
};
template <>
struct CaseOf<After> {
  using type = TimerCase;
};
template <class Op>
struct CaseOf<Guarded<Op>> : CaseOf<Op> {};

template <class Op>
[[nodiscard]] bool enabled(const Op&) noexcept {
  return true;
}
template <class Op>
[[nodiscard]] bool enabled(const Guarded<Op>& guarded) noexcept {
  return guarded.enabled;
}
template <class Op>
[[nodiscard]] Op&& operation_in(Op& operation) noexcept {
  return std::move(operation);
}
template <class Op>
[[nodiscard]] Op&& operation_in(Guarded<Op>& guarded) noexcept {
  return std::move(guarded.operation);
}

}  // namespace weir::detail
