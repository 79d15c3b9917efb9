/// The operations by completion token: each waits in a block of the handler's allocator, and its handler is posted to
/// the handler's associated executor (the channel's, if it has none).
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include <weir/asio.hpp>
#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/sync.hpp>

namespace weir::detail {

/// A block that holds a handler until it is posted; `Self` adds the waiter.
template <class Self, class Handler>
class HandlerBlock {
 public:
  using Allocator = typename std::allocator_traits<asio::associated_allocator_t<Handler>>::template rebind_alloc<Self>;
  using Traits = std::allocator_traits<Allocator>;

  template <class... Args>
  static Self* make(Handler&& handler, Args&&... args) {
    Allocator allocator(asio::get_associated_allocator(handler));
    Self* const memory = Traits::allocate(allocator, 1);
    try {
      return ::new (static_cast<void*>(memory)) Self(std::move(handler), static_cast<Args&&>(args)...);
    } catch (...) {
      Traits::deallocate(allocator, memory, 1);
      throw;
    }
  }

 protected:
  using HandlerExecutor = asio::associated_executor_t<Handler, asio::any_io_executor>;
  using WorkExecutor = std::decay_t<decltype(asio::prefer(std::declval<const HandlerExecutor&>(),
                                                          asio::execution::outstanding_work.tracked))>;

  HandlerBlock(Handler&& handler, const asio::any_io_executor& fallback)
      : executor_(
            asio::prefer(asio::get_associated_executor(handler, fallback), asio::execution::outstanding_work.tracked)),
        handler_(std::move(handler)) {}

  /// Frees the block, then posts the handler with the values, so that the memory can serve the post.
  template <class Value>
  void complete(std::error_code error, std::optional<Value> value) noexcept {
    Self& self = static_cast<Self&>(*this);
    auto executor = std::move(executor_);
    Completion<Value> completion{std::move(handler_), error, std::move(value)};
    Allocator allocator(asio::get_associated_allocator(completion.handler));
    self.~Self();
    Traits::deallocate(allocator, &self, 1);
    asio::post(executor, std::move(completion));
  }

  [[nodiscard]] Handler& handler() noexcept { return handler_; }

 private:
  template <class Value>
  struct Completion {
    using allocator_type = asio::associated_allocator_t<Handler>;
    [[nodiscard]] allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
    void operator()() { std::move(handler)(error, std::move(value)); }
    Handler handler;
    std::error_code error;
    std::optional<Value> value;
  };

  WorkExecutor executor_;
  Handler handler_;
};

/// What a token's cancellation slot calls. It may be called after the operation is complete and its block is freed, so
/// it knows the waiter by a key only, which is its own address.
template <class Core, auto CancelBy>
class CancelByKey {
 public:
  explicit CancelByKey(CoreRef<Core> core) noexcept : core_(std::move(core)) {}
  void operator()(asio::cancellation_type type) noexcept {
    if (type == asio::cancellation_type::none) return;
    if (Waiter* const waiter = ((*core_).*CancelBy)(this)) waiter->deferred.fire(waiter->deferred);
  }

 private:
  CoreRef<Core> core_;
};

/// Before the attempt, so that nothing can complete the waiter in between.
template <class Core, auto CancelBy, class Handler>
void connect_cancellation(Waiter& waiter, Core& core, const Handler& handler) {
  auto slot = asio::get_associated_cancellation_slot(handler);
  if (!slot.is_connected()) return;
  waiter.key = &slot.template emplace<CancelByKey<Core, CancelBy>>(CoreRef<Core>(core));
}

[[nodiscard]] inline std::error_code async_error(WaitState state) noexcept {
  switch (state) {
    case WaitState::done:
      return {};
    case WaitState::full:
      return Errc::channel_full;
    case WaitState::cancelled:
      // What every Asio operation gives, and what its users compare with.
      return asio::error::make_error_code(asio::error::operation_aborted);
    default:
      return Errc::channel_closed;
  }
}

template <class T, class Sync, class Handler>
class AsyncSend : public SendWaiter, public HandlerBlock<AsyncSend<T, Sync, Handler>, Handler> {
  using Core = ChannelCore<T, Sync>;
  using Block = HandlerBlock<AsyncSend, Handler>;

 public:
  AsyncSend(Handler&& handler, Core& core, T&& value)
      : Block(std::move(handler), core.executor()), core_(core), value_(std::move(value)) {
    transfer = [](SendWaiter& self, void* slot) {
      auto& me = static_cast<AsyncSend&>(self);
      ::new (slot) T(std::move(*me.value_));
      me.value_.reset();
      return true;
    };
    this->deferred.fire = &fire;
  }

  void start() {
    connect_cancellation<Core, &Core::cancel_send_by>(*this, *core_, Block::handler());
    const CoreRef<Core> core = core_;
    const WaitState attempt = core->send(
        [this](void* slot) {
          ::new (slot) T(std::move(*value_));
          value_.reset();
        },
        this);
    if (attempt == WaitState::queued) return;
    if (attempt == WaitState::done) value_.reset();
    state = attempt;
    fire(this->deferred);
  }

 private:
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncSend&>(static_cast<SendWaiter&>(waiter_of(fired)));
    me.complete(async_error(me.state), std::move(me.value_));
  }

  CoreRef<Core> core_;
  std::optional<T> value_;
};

template <class T, class Sync, class Handler>
class AsyncReceive : public ReceiveWaiter<T>, public HandlerBlock<AsyncReceive<T, Sync, Handler>, Handler> {
  using Core = ChannelCore<T, Sync>;
  using Block = HandlerBlock<AsyncReceive, Handler>;

 public:
  AsyncReceive(Handler&& handler, Core& core) : Block(std::move(handler), core.executor()), core_(core) {
    this->deferred.fire = &fire;
  }

  void start() {
    connect_cancellation<Core, &Core::cancel_receive_by>(*this, *core_, Block::handler());
    const CoreRef<Core> core = core_;
    const auto take = [this](T& value) {
      ::new (this->slot()) T(std::move(value));
      this->has_value = true;
    };
    const WaitState attempt = core->receive(take, this, this->reason);
    if (attempt == WaitState::queued) return;
    this->state = attempt;
    fire(this->deferred);
  }

 private:
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncReceive&>(static_cast<ReceiveWaiter<T>&>(waiter_of(fired)));
    std::optional<T> value;
    if (me.has_value) value.emplace(me.take());
    me.complete(me.outcome(), std::move(value));
  }
  [[nodiscard]] std::error_code outcome() const noexcept {
    if (this->state == WaitState::closed) return this->reason ? code_of(this->reason) : std::error_code();
    return async_error(this->state);
  }
  static std::error_code code_of(const std::exception_ptr& reason) noexcept {
    try {
      std::rethrow_exception(reason);
    } catch (const std::system_error& e) {
      return e.code();
    } catch (...) {
      return Errc::channel_closed;
    }
  }

  CoreRef<Core> core_;
};

}  // namespace weir::detail
