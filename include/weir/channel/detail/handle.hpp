/// What the two handles of a channel share.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include <weir/channel/detail/core.hpp>
#include <weir/channel/detail/suspension.hpp>
#include <weir/channel/detail/timed.hpp>
#include <weir/channel/options.hpp>
#include <weir/core/always_inline.hpp>
#include <weir/core/error.hpp>

namespace weir::detail {

/// What both handles are: an owner of the channel's core that is counted on its side.
template <class T, class Sync, bool Sender>
class ChannelHandle {
 public:
  using value_type = T;

  ChannelHandle() noexcept = default;
  ChannelHandle(const ChannelHandle& other) noexcept
    requires Sync::copyable
      : ChannelHandle(other.core_) {}
  ChannelHandle(ChannelHandle&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  ChannelHandle& operator=(const ChannelHandle& other) noexcept
    requires Sync::copyable
  {
    return *this = ChannelHandle(other);
  }
  ChannelHandle& operator=(ChannelHandle&& other) noexcept {
    ChannelHandle taken(std::move(other));
    std::swap(core_, taken.core_);
    return *this;
  }
  ~ChannelHandle() { reset(); }

  /// Gives this handle up, as its destructor does. The last of a side ends that side.
  void reset() noexcept {
    Core* const core = std::exchange(core_, nullptr);
    if (!core) return;
    if constexpr (Sender) {
      core->drop_sender();
    } else {
      core->drop_receiver();
    }
  }

  /// No new values from now on. What is buffered, and what permits were granted for, stays receivable; senders that
  /// wait fail with `Errc::channel_closed` and keep their values; receivers that wait wake. A second close is nothing.
  /// Any thread.
  void close() const noexcept {
    if (core_) core_->close(nullptr);
  }
  /// The same with a reason, which receivers are thrown once they have drained the channel.
  void close(std::exception_ptr reason) const noexcept {
    if (core_) core_->close(std::move(reason));
  }
  void close(std::error_code reason) const { close(std::make_exception_ptr(std::system_error(reason))); }

  /// True when no value can be sent any more: it was closed, or the last receiver has gone. Any thread.
  [[nodiscard]] bool closed() const { return core().closed(); }
  [[nodiscard]] std::size_t capacity() const { return core().capacity(); }
  /// A consistent snapshot. Any thread.
  [[nodiscard]] ChannelStats stats() const { return core().stats(); }

  /// A name for `describe`; the last one given counts. Any thread. Allocates.
  void set_name(std::string name) const { core().set_name(std::move(name)); }
  /// One line for a log or a debugger: what `stats` counts, the handles at each end, whether and why it is closed, and
  /// who waits at each end, for how long (to the precision of a turn of its root, and of the system's tick): the number
  /// and the name of the root (`this_task::set_name`), or "a completion handler". The first eight are named. A stalled
  /// run of the simulator prints it for each wait. Any thread. Allocates, outside the channel's lock but for the names.
  [[nodiscard]] std::string describe() const {
    std::string text;
    core().describe(text);
    return text;
  }

  /// False when it was moved from or reset: every operation then throws `Error(Errc::empty_handle)`.
  [[nodiscard]] explicit operator bool() const noexcept { return core_ != nullptr; }
  [[nodiscard]] friend bool operator==(const ChannelHandle& a, const ChannelHandle& b) noexcept {
    return a.core_ == b.core_;
  }

 protected:
  using Core = ChannelCore<T, Sync>;

  explicit ChannelHandle(Core* core) noexcept : core_(core) {
    if (!core_) return;
    if constexpr (Sender) {
      core_->add_sender();
    } else {
      core_->add_receiver();
    }
  }
  [[nodiscard]] WEIR_ALWAYS_INLINE Core& core() const {
    if (!core_) [[unlikely]]
      throw_empty();
    return *core_;
  }
  template <class Awaiter, class... Parts>
  [[nodiscard]] WEIR_ALWAYS_INLINE auto operation(Parts... parts) const {
    return Operation<Awaiter, Core, Parts...>(core(), std::move(parts)...);
  }
  template <class Awaiter, class... Parts>
  [[nodiscard]] auto timed(Until until, Parts... parts) const {
    return operation<TimedAwaiter<Awaiter>>(until, std::move(parts)...);
  }
  [[noreturn, gnu::noinline]] static void throw_empty() {
    throw Error(Errc::empty_handle, "this channel handle was moved from or reset");
  }

 private:
  Core* core_ = nullptr;
};

}  // namespace weir::detail
