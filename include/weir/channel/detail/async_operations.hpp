/// The operations by completion token: each waits in a block of the handler's allocator, and its handler is posted to
/// the handler's associated executor (the channel's, if it has none). Each is tried once without waiting; only one that
/// has to wait enters its context's registry and takes the cancellation slot.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/channel/detail/async_registry.hpp>
#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/sync.hpp>
#include <weir/core/wake_list.hpp>

namespace weir::detail {

/// A value on its way to a handler: what carries it must not throw when it is moved, so a value that might goes in a
/// box.
template <class T>
using Carried = std::conditional_t<std::is_nothrow_move_constructible_v<T>, std::optional<T>, std::unique_ptr<T>>;

template <class T>
void carry(Carried<T>& into, T&& value) {
  if constexpr (std::is_nothrow_move_constructible_v<T>) {
    into.emplace(std::move(value));
  } else {
    into = std::make_unique<T>(std::move(value));
  }
}
template <class T>
std::optional<T> unpack(std::optional<T>&& carried) noexcept {
  return std::move(carried);
}
template <class T>
std::optional<T> unpack(std::unique_ptr<T>&& carried) {
  return carried ? std::optional<T>(std::move(*carried)) : std::nullopt;
}

/// The context behind an executor, or null for one that has none, such as that of `asio::use_future`.
template <class E>
[[nodiscard]] asio::execution_context* context_behind(const E& executor) {
  if constexpr (asio::can_query<const E&, asio::execution::context_as_t<asio::execution_context&>>::value) {
    return &context_of(executor);
  } else {
    return nullptr;
  }
}

/// What a token's cancellation slot calls. It may be called after the operation is complete and its block is freed, so
/// it knows the waiter by a key only.
template <class Core, auto CancelBy>
class CancelByKey {
 public:
  CancelByKey(CoreRef<Core> core, std::uint64_t key) noexcept : core_(std::move(core)), key_(key) {}
  void operator()(asio::cancellation_type type) noexcept {
    if (type == asio::cancellation_type::none) return;
    if (Waiter* const waiter = ((*core_).*CancelBy)(key_)) waiter->completion->fire(*waiter->completion);
  }

 private:
  CoreRef<Core> core_;
  std::uint64_t key_;
};

/// Before it is queued, so that nothing can complete the waiter in between.
template <class Core, auto CancelBy, class Handler>
void connect_cancellation(HandlerWake& wake, Core& core, const Handler& handler) {
  auto slot = asio::get_associated_cancellation_slot(handler);
  if (!slot.is_connected()) return;
  wake.key = HandlerWake::new_key();
  slot.template emplace<CancelByKey<Core, CancelBy>>(CoreRef<Core>(core), wake.key);
}

/// A block that holds a handler until it is posted; `Self` adds the waiter, and says how it is taken back.
template <class Self, class T, class Handler>
class HandlerBlock : private AsyncRegistry::Entry {
 public:
  using Allocator = typename std::allocator_traits<asio::associated_allocator_t<Handler>>::template rebind_alloc<Self>;
  using Traits = std::allocator_traits<Allocator>;

  HandlerBlock(const HandlerBlock&) = delete;
  HandlerBlock& operator=(const HandlerBlock&) = delete;

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
  ~HandlerBlock() = default;

  /// Tries it without waiting, and else begins to wait, known by its key to the handler's slot. When this throws, the
  /// operation is destroyed. `Self` has `attempt(core, waits)`: true when it is over, and has not to be woken any more.
  template <auto CancelBy, class Core>
  void begin(const CoreRef<Core> core, HandlerWake& wake) {
    Self& self = static_cast<Self&>(*this);
    if (self.attempt(*core, false)) return wake.fire(wake);
    if (!enter(core->executor())) return;
    try {
      connect_cancellation<Core, CancelBy>(wake, *core, handler_);
    } catch (...) {
      withdraw_entered();
      throw;
    }
    if (self.attempt(*core, true)) wake.fire(wake);
  }

  /// Frees the block, then posts the handler with the values, so that the memory can serve the post.
  void complete(std::error_code error, Carried<T> value) noexcept {
    Self& self = static_cast<Self&>(*this);
    AsyncRegistry* const entered = this->registry;
    if (entered) entered->leave(*this);
    {
      auto executor = std::move(executor_);
      Completion completion{std::move(handler_), error, std::move(value)};
      Allocator allocator(asio::get_associated_allocator(completion.handler));
      self.~Self();
      Traits::deallocate(allocator, &self, 1);
      asio::post(executor, std::move(completion));
    }
    if (entered) entered->posted();
  }

 private:
  /// Before it may wait: it goes with its executor's context, or with the channel's, if that has none. False: the
  /// context is going already, and it was destroyed, as it is when this throws.
  [[nodiscard]] bool enter(const asio::any_io_executor& fallback) {
    withdraw = [](Entry& entry) noexcept { return static_cast<Self&>(static_cast<HandlerBlock&>(entry)).take_back(); };
    destroy = [](Entry& entry) noexcept { static_cast<HandlerBlock&>(entry).forget(); };
    asio::execution_context* const own = context_behind(executor_);
    try {
      if (asio::use_service<AsyncRegistry>(own ? *own : context_of(fallback)).enter(*this)) return true;
    } catch (...) {
      forget();
      throw;
    }
    forget();
    return false;
  }
  /// Takes back an operation that entered and could not be begun: it is destroyed.
  void withdraw_entered() noexcept {
    AsyncRegistry* const entered = this->registry;
    entered->leave(*this);
    forget();
    entered->posted();
  }

  struct Completion {
    using allocator_type = asio::associated_allocator_t<Handler>;
    [[nodiscard]] allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
    void operator()() { std::move(handler)(error, unpack<T>(std::move(value))); }
    Handler handler;
    std::error_code error;
    Carried<T> value;
  };

  void forget() noexcept {
    Self& self = static_cast<Self&>(*this);
    const Handler uncalled(std::move(handler_));
    Allocator allocator(asio::get_associated_allocator(uncalled));
    self.~Self();
    Traits::deallocate(allocator, &self, 1);
  }

  WorkExecutor executor_;
  Handler handler_;
};

/// The code of an exception, for handlers, that take nothing else.
[[nodiscard]] inline std::error_code code_of(const std::exception_ptr& error, std::error_code otherwise) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  } catch (...) {
    return otherwise;
  }
}
/// What a handler is told when the constructor of a value threw something without a code.
[[nodiscard]] inline std::error_code value_failed(const std::exception_ptr& error) noexcept {
  return code_of(error, std::make_error_code(std::errc::state_not_recoverable));
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

/// A send to a channel, or to a broadcast.
template <class Core, class T, class Handler>
class AsyncSend : public SendWaiter, public HandlerBlock<AsyncSend<Core, T, Handler>, T, Handler> {
  using Block = HandlerBlock<AsyncSend, T, Handler>;
  friend Block;

 public:
  AsyncSend(Handler&& handler, Core& core, T&& value)
      : SendWaiter(wake_, &move_out), Block(std::move(handler), core.executor()), core_(core) {
    carry<T>(value_, std::move(value));
  }

  void start() { Block::template begin<&Core::cancel_send_by>(core_, wake_); }
  [[nodiscard]] bool take_back() noexcept { return core_->cancel_send(*this); }

 private:
  bool attempt(Core& core, bool waits) noexcept {
    auto outcome = WaitState::failed;
    try {
      outcome = core.send([this](void* slot) { move_out(*this, slot); },
                          Known{waits ? static_cast<SendWaiter*>(this) : nullptr});
    } catch (...) {
      error = std::current_exception();
    }
    // Queued, it may be gone already.
    if (outcome == WaitState::queued) return false;
    if (outcome == WaitState::full && !waits && core.waits_when_full()) return false;
    state = outcome;
    return true;
  }

  static bool move_out(SendWaiter& self, void* slot) {
    ::new (slot) T(std::move(*static_cast<AsyncSend&>(self).value_));
    return true;
  }
  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncSend&>(static_cast<SendWaiter&>(waiter_of(fired)));
    if (me.state == WaitState::done) me.value_.reset();
    const auto code = me.state == WaitState::failed ? value_failed(me.error) : async_error(me.state);
    me.complete(code, std::move(me.value_));
  }

  HandlerWake wake_{*this, &fire};
  CoreRef<Core> core_;
  Carried<T> value_;
};

template <class T, class Sync, class Handler>
class AsyncReceive : public ReceiveWaiter<T>, public HandlerBlock<AsyncReceive<T, Sync, Handler>, T, Handler> {
  using Core = ChannelCore<T, Sync>;
  using Block = HandlerBlock<AsyncReceive, T, Handler>;
  friend Block;

 public:
  AsyncReceive(Handler&& handler, Core& core)
      : ReceiveWaiter<T>(wake_), Block(std::move(handler), core.executor()), core_(core) {}

  void start() { Block::template begin<&Core::cancel_receive_by>(core_, wake_); }
  [[nodiscard]] bool take_back() noexcept { return core_->cancel_receive(*this); }

 private:
  bool attempt(Core& core, bool waits) noexcept {
    const auto take = [this](T& value) {
      ::new (this->slot()) T(std::move(value));
      this->has_value = true;
    };
    auto outcome = WaitState::failed;
    try {
      outcome = core.receive(take, Known{waits ? static_cast<ReceiveWaiter<T>*>(this) : nullptr});
    } catch (...) {
      error_ = std::current_exception();
    }
    if (outcome == WaitState::queued || outcome == WaitState::idle) return false;
    this->state = outcome;
    return true;
  }

  static void fire(WakeList::Deferred& fired) noexcept {
    auto& me = static_cast<AsyncReceive&>(static_cast<ReceiveWaiter<T>&>(waiter_of(fired)));
    Carried<T> value;
    if (me.has_value) {
      try {
        me.give([&value](T& v) { carry<T>(value, std::move(v)); });
      } catch (...) {
        me.core_->count_undelivered();
        me.state = WaitState::failed;
        me.error_ = std::current_exception();
      }
    }
    me.complete(me.outcome(), std::move(value));
  }
  [[nodiscard]] std::error_code outcome() const noexcept {
    if (this->state == WaitState::failed) return value_failed(error_);
    if (this->state != WaitState::closed) return async_error(this->state);
    const std::exception_ptr& reason = core_->reason();
    return reason ? code_of(reason, Errc::channel_closed) : std::error_code();
  }

  HandlerWake wake_{*this, &fire};
  CoreRef<Core> core_;
  std::exception_ptr error_;
};

}  // namespace weir::detail
