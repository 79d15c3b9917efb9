/// What waits in a bus: publishers, and those that wait for an outcome, an end, a drain.
#pragma once

#include <coroutine>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <weir/bus/detail/bus_core.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/with_cancellation.hpp>

namespace weir::detail {

/// Publishes: `Result` is made of the draft's state and the event's number.
template <class Order, class Result>
class PublishAwaiter final : public Cancellable {
  using Core = BusCore<Order>;
  using Publisher = typename Core::Publisher;

 public:
  /// The caller's event, which is moved from when it is admitted.
  PublishAwaiter(Core& core, Event& event, typename Order::Rank rank, EventStateRef state)
      : Cancellable(publish_kind()), core_(&core) {
    draft_.event = &event;
    draft_.rank = std::move(rank);
    draft_.state = std::move(state);
  }
  PublishAwaiter(Core& core, std::string_view topic, EventPayload&& payload, EventPriority priority,
                 typename Order::Rank rank, EventStateRef state)
      : Cancellable(publish_kind()), core_(&core), own_(std::in_place, std::move(payload), priority) {
    draft_.event = &*own_;
    draft_.topic = topic;
    draft_.rank = std::move(rank);
    draft_.state = std::move(state);
  }
  PublishAwaiter(PublishAwaiter&& other) noexcept
      : Cancellable(publish_kind()), core_(other.core_), draft_(std::move(other.draft_)), own_(std::move(other.own_)) {
    if (own_) draft_.event = &*own_;
  }
  PublishAwaiter& operator=(PublishAwaiter&&) = delete;
  ~PublishAwaiter() {
    if (!suspended_) return;
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->forget(publisher_);
  }

  /// Also while the bus is drained: it was published before.
  void publish_held_back() noexcept { draft_.held_back = true; }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() {
    Home& home = promise_->home();
    publisher_.home = &home;
    publisher_.resumable = &promise_->resumable();
    publisher_.draft = &draft_;
    if (!attempt(home, false)) {
      // The one that takes the place of a handler which waits has to be made, and not under the lock.
      core_->add_worker(home);
      attempt(home, true);
    }
    if (suspended_) return false;
    if constexpr (!std::is_same_v<Result, EventId>) kept_ = share();
    if (home.spend()) return true;
    home.resume_here(promise_->resumable());
    return false;
  }
  void await_suspend(std::coroutine_handle<>) noexcept {
    if (suspended_) promise_->scope().link(*this);
  }
  Result await_resume() {
    unlink();
    suspended_ = false;
    if (publisher_.exception) std::rethrow_exception(std::move(publisher_.exception));
    if (publisher_.error) throw Error(static_cast<Errc>(publisher_.error.value()));
    if constexpr (std::is_same_v<Result, EventId>) {
      return publisher_.id;
    } else {
      return Result(std::move(kept_), std::move(draft_.state), publisher_.id);
    }
  }

 private:
  static const Kind& publish_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<PublishAwaiter&>(self).abort(); }, nullptr,
                               "publish"};
    return kind;
  }

  /// False: it has to wait, and another worker is needed for that.
  bool attempt(Home& home, bool worker_made) {
    const auto now = home.turn_time();
    if (core_->put_in_inbox(draft_, now, publisher_.id)) return true;
    BusAfter after(&home);
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    if (core_->admit(draft_, now, &home, after, publisher_) != Core::Admission::full) return true;
    // The bus may go while this waits.
    if (!kept_) kept_ = share();
    switch (core_->wait_for_room(publisher_, worker_made, after)) {
      case BusWait::needs_worker:
        return false;
      case BusWait::refused:
        publisher_.error = Errc::would_deadlock;
        break;
      default:
        suspended_ = true;
    }
    return true;
  }
  void abort() noexcept {
    BusAfter after;
    Core::prepare(after);
    const std::lock_guard lock(core_->mutex);
    core_->stop_waiting(publisher_, Errc::cancelled, after);
  }

  [[nodiscard]] std::shared_ptr<Core> share() const {
    return std::static_pointer_cast<Core>(core_->shared_from_this());
  }

  Core* core_;
  std::shared_ptr<Core> kept_;
  EventDraft<Order> draft_;
  std::optional<Event> own_;
  Publisher publisher_;
  Promise* promise_ = nullptr;
  bool suspended_ = false;
};

template <class Order>
Task<EventId> publish_later(std::shared_ptr<BusCore<Order>> core, Event event) {
  PublishAwaiter<Order, EventId> publishing(*core, event, Order::rank(event), EventStateRef());
  co_return co_await publishing;
}

/// Admits without waiting. `by`: where the publisher runs, if that is known.
template <class Order>
PublishResult try_admit(BusCore<Order>& core, EventDraft<Order>& draft, Home* by, TimeService::TimePoint now) {
  EventId id = 0;
  if (core.put_in_inbox(draft, now, id)) return {id, {}};
  BusAfter after;
  BusCore<Order>::prepare(after);
  typename BusCore<Order>::Publisher publisher;
  const std::lock_guard lock(core.mutex);
  const auto admission = core.admit(draft, now, by, after, publisher);
  if (admission == BusCore<Order>::Admission::full) publisher.error = Errc::queue_full;
  return {publisher.id, publisher.error};
}

/// A wait that a bus ends. `Registration` puts it down there, and takes it back.
template <class Registration>
class BusWaitAwaiter final : public Cancellable {
 public:
  template <class... Args>
  explicit BusWaitAwaiter(Args&&... args) : Cancellable(wait_kind()), registration_(static_cast<Args&&>(args)...) {}
  BusWaitAwaiter(BusWaitAwaiter&& other) noexcept
      : Cancellable(wait_kind()), registration_(std::move(other.registration_)) {}
  BusWaitAwaiter& operator=(BusWaitAwaiter&&) = delete;
  ~BusWaitAwaiter() {
    if (registered_) registration_.forget();
  }

  void attach(Promise& promise) {
    if (promise.scope().cancelled()) throw Error(Errc::cancelled);
    promise_ = &promise;
  }
  [[nodiscard]] bool await_ready() {
    Home& home = promise_->home();
    BusWait wait = registration_.add(home, promise_->resumable(), false);
    if (wait == BusWait::needs_worker) {
      registration_.add_worker(home);
      wait = registration_.add(home, promise_->resumable(), true);
    }
    if (wait == BusWait::refused) {
      throw Error(Errc::would_deadlock, "too many handlers wait for their own bus: see BusOptions::nested");
    }
    registered_ = wait == BusWait::waits;
    return !registered_;
  }
  void await_suspend(std::coroutine_handle<>) noexcept { promise_->scope().link(*this); }
  auto await_resume() {
    unlink();
    registered_ = false;
    if (cancelled_) throw Error(Errc::cancelled);
    return registration_.result();
  }

 private:
  static const Kind& wait_kind() noexcept {
    static constexpr Kind kind{[](Cancellable& self) noexcept { static_cast<BusWaitAwaiter&>(self).abort(); }, nullptr,
                               Registration::what};
    return kind;
  }
  // It is told of that as of its end: a handler waits for its place first.
  void abort() noexcept { cancelled_ = registration_.stop(); }

  Registration registration_;
  Promise* promise_ = nullptr;
  bool registered_ = false;
  bool cancelled_ = false;
};

}  // namespace weir::detail
