/// `collected(stream)`: a flow of what a stream has collected.
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <ranges>
#include <utility>

#include <weir/core/shielded.hpp>
#include <weir/core/task.hpp>
#include <weir/stream/cancellation_level.hpp>
#include <weir/stream/emitting_task.hpp>
#include <weir/stream/flow/flow.hpp>

namespace weir {
namespace detail {

template <class Stream>
class CollectedFlow : public FlowSource {
  using Final = typename Stream::final_event_type;
  using Collection = typename Stream::collection_type;
  using Iterator = std::ranges::iterator_t<const Collection>;

 public:
  using value_type = std::ranges::range_value_t<const Collection>;
  static constexpr bool synchronous = false;

  explicit CollectedFlow(Stream stream) : stream_(std::move(stream)) {}

  [[nodiscard]] Pull pull(std::optional<value_type>& out) {
    if (!final_) return Pull::wait;
    if (next_ == std::ranges::end(std::as_const(*final_).collected())) return Pull::end;
    out.emplace(*next_);
    ++next_;
    return Pull::value;
  }
  [[nodiscard]] Task<> ready() {
    auto waiting = stream_.final_event();
    final_.emplace(co_await std::move(waiting));
    if (final_->outcome() == Outcome::timed_out) throw Error(Errc::timed_out, final_->error().text());
    if (!*final_) final_->error().rethrow();
    next_ = std::ranges::begin(std::as_const(*final_).collected());
  }
  [[nodiscard]] Task<> close() {
    if (stream_.is_complete()) co_return;
    stream_.cancel(CancellationLevel::forceful);
    co_await shielded(stream_.join());
  }

 private:
  Stream stream_;
  std::optional<const Final> final_;
  Iterator next_{};
};

}  // namespace detail

/// A flow of the elements of a stream's collection, by copy, once the stream is complete; it waits for that. The flow
/// owns the stream: when downstream ends first, the stream is cancelled forcefully, and joined. Throws what the stream
/// failed with, `Error(Errc::cancelled)` when it was cancelled, `Error(Errc::timed_out)` when its time was up. For the
/// values as they come let the receivers send them into a channel: `from(receiver)`.
template <class T, class C, class Collection>
  requires std::ranges::forward_range<const Collection> &&
           std::copy_constructible<std::ranges::range_value_t<const Collection>>
[[nodiscard]] auto collected(EmittingTask<T, C, Collection> stream) {
  return detail::CollectedFlow<EmittingTask<T, C, Collection>>(std::move(stream));
}

}  // namespace weir
