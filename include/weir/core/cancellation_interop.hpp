/// Cancellation to and from Asio's slots and signals, and the standard's stop tokens.
#pragma once

#include <stop_token>
#include <utility>

#include <weir/core/cancellation.hpp>

namespace weir {

/// Cancels `source` when `slot` is emitted to, by the one who emits, whatever the type. It replaces the slot's handler,
/// holds the source until the slot is assigned or cleared again, and does nothing for a slot without a signal.
/// Allocates the slot's handler. On the thread that owns the signal.
inline void cancel_on_emission(asio::cancellation_slot slot, CancellationSource source) {
  if (!slot.is_connected()) return;
  slot.assign([held = std::move(source)](asio::cancellation_type) mutable { held.cancel(); });
}

/// Emits `signal` on `executor` when `token` is cancelled: name the executor that the cancelled operation completes on,
/// a serial one, as Asio does not protect the signal. The signal must outlive the registration that is returned;
/// destroy that on `executor` too.
template <ExecutorSource E>
[[nodiscard]] CancellationCallback emit_on_cancel(const CancellationToken& token, E&& executor,
                                                  asio::cancellation_signal& signal,
                                                  asio::cancellation_type type = asio::cancellation_type::terminal) {
  return CancellationCallback(token, static_cast<E&&>(executor), [&signal, type] { signal.emit(type); });
}

/// Requests the stop of `stop` on `executor` when `token` is cancelled: a stop runs foreign callbacks inline, which is
/// why it is not done by the one who cancels.
template <ExecutorSource E>
[[nodiscard]] CancellationCallback stop_on_cancel(const CancellationToken& token, E&& executor, std::stop_source stop) {
  return CancellationCallback(token, static_cast<E&&>(executor),
                              [held = std::move(stop)]() mutable { held.request_stop(); });
}

/// Cancels `source` when a stop is requested, by the one who requests it; at once if it was before. As long as this
/// object lives, which is not moved; its destructor waits for a cancel that is under way on another thread, as that of
/// any `std::stop_callback` does.
class [[nodiscard]] CancelOnStop {
 public:
  CancelOnStop(const std::stop_token& token, CancellationSource source) : callback_(token, Cancel(std::move(source))) {}

 private:
  class Cancel {
   public:
    explicit Cancel(CancellationSource source) noexcept : source_(std::move(source)) {}
    void operator()() noexcept { source_.cancel(); }

   private:
    CancellationSource source_;
  };

  std::stop_callback<Cancel> callback_;
};

}  // namespace weir
