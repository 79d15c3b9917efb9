/// What the tests of the channel share.
#pragma once

#include <weir/channel/channel.hpp>

#include <cassert>
#include <exception>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include <weir/core/spawn.hpp>
#include <weir/core/task.hpp>

namespace channel_test {

using weir::Errc;
using weir::Overflow;
using weir::Task;

/// The kinds of channel, for TEMPLATE_TEST_CASE. Spsc is Shared whose handles can't be copied, to the letter: it is for
/// what handles do.
struct Shared {
  template <class T, class E>
  static auto make(E&& executor, weir::ChannelOptions options = {}) {
    return weir::make_channel<T>(executor, options);
  }
};
struct Local {
  template <class T, class E>
  static auto make(E&& executor, weir::ChannelOptions options = {}) {
    return weir::make_local_channel<T>(executor, options);
  }
};
struct Spsc {
  template <class T, class E>
  static auto make(E&& executor, weir::ChannelOptions options = {}) {
    return weir::make_spsc_channel<T>(executor, options);
  }
};

template <class T, class Kind>
using Pair = decltype(Kind::template make<T>(std::declval<asio::io_context&>()));
template <class T, class Kind>
using SenderOf = typename Pair<T, Kind>::first_type;
template <class T, class Kind>
using ReceiverOf = typename Pair<T, Kind>::second_type;

/// A channel in a context of its own.
template <class Kind, class T = int>
struct Channel {
  explicit Channel(weir::ChannelOptions options = {}) {
    auto [sender, receiver] = Kind::template make<T>(context, options);
    tx = std::move(sender);
    rx = std::move(receiver);
  }
  asio::io_context context;
  SenderOf<T, Kind> tx;
  ReceiverOf<T, Kind> rx;
};

/// Runs what is ready. Unlike `run` it does not wait for roots that wait.
inline void poll(asio::io_context& context) {
  context.restart();
  context.poll();
}

/// A root whose end can be seen, and that can be cancelled. It outlives its context, or at least its root.
class Root {
 public:
  Root() = default;
  template <class Context, class F>
  Root(Context& context, F&& f) {
    start(context, std::forward<F>(f));
  }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  template <class Context, class F>
  void start(Context& context, F&& f) {
    weir::spawn(context, std::forward<F>(f),
                asio::bind_cancellation_slot(signal_.slot(), [this](std::exception_ptr error, auto&&...) {
                  ended_ = true;
                  error_ = std::move(error);
                }));
  }
  void cancel() { signal_.emit(asio::cancellation_type::all); }

  [[nodiscard]] bool ended() const noexcept { return ended_; }
  /// Ended without an exception.
  [[nodiscard]] bool fine() const noexcept { return ended_ && !error_; }
  /// The code of the exception that it ended with.
  [[nodiscard]] std::error_code code() const {
    if (!error_) return {};
    try {
      std::rethrow_exception(error_);
    } catch (const std::system_error& error) {
      return error.code();
    }
  }
  [[nodiscard]] std::exception_ptr error() const noexcept { return error_; }

 private:
  asio::cancellation_signal signal_;
  bool ended_ = false;
  std::exception_ptr error_;
};

/// The fate of every `Item`, for one thread.
struct Ledger {
  int live = 0;             ///< objects, also those that were moved from
  std::map<int, int> ends;  ///< how often the owner of a value was destroyed, by the value

  [[nodiscard]] bool each_ended_once(int first, int count) const {
    for (int i = first; i < first + count; ++i) {
      const auto it = ends.find(i);
      if (it == ends.end() || it->second != 1) return false;
    }
    return true;
  }
};

/// A value that is neither default-constructible nor copyable, and that reports its end.
class Item {
 public:
  Item(Ledger& ledger, int id) noexcept : ledger_(&ledger), id_(id) { ++ledger_->live; }
  Item(Item&& other) noexcept : ledger_(other.ledger_), id_(std::exchange(other.id_, gone)) {
    assert(other.self_ == &other);
    ++ledger_->live;
  }
  Item& operator=(Item&& other) noexcept {
    assert(self_ == this && other.self_ == &other);
    if (this == &other) return *this;
    end();
    id_ = std::exchange(other.id_, gone);
    return *this;
  }
  ~Item() {
    assert(self_ == this);
    self_ = nullptr;
    end();
    --ledger_->live;
  }

  [[nodiscard]] int id() const noexcept { return id_; }
  [[nodiscard]] bool moved_from() const noexcept { return id_ == gone; }
  /// Gives its value up, as if it were moved from.
  void forget() noexcept { id_ = gone; }

 private:
  static constexpr int gone = -1;
  void end() noexcept {
    if (id_ != gone) ++ledger_->ends[id_];
  }

  Ledger* ledger_;
  int id_;
  const Item* self_ = this;
};

/// admitted == received + buffered + dropped, and never more than the capacity.
[[nodiscard]] inline bool adds_up(const weir::ChannelStats& stats) noexcept {
  return stats.admitted == stats.received + stats.buffered + stats.dropped &&
         stats.buffered + stats.reserved <= stats.capacity;
}

/// The code that `operation()`, awaited, throws.
template <class F>
Task<std::error_code> code_of(F operation) {
  try {
    auto&& awaiter = operation();
    if constexpr (std::is_void_v<weir::await_result_t<decltype(operation())>>) {
      co_await std::move(awaiter);
    } else {
      [[maybe_unused]] const auto result = co_await std::move(awaiter);
    }
  } catch (const std::system_error& error) {
    co_return error.code();
  }
  co_return std::error_code();
}

}  // namespace channel_test
