/// The receiving half of a stream, from a channel of the user's.
#pragma once

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/stream_handle.hpp>
#include <weir/stream/detail/stream_state.hpp>

namespace weir {

/// Receivers of `T`s from a channel of the user's: made by `emits<T>(...).receiver(...).start_from(rx)`, where `rx` is
/// a `ChannelReceiver<T>`, or a `ChannelReceiver<SenderEvent<T>>`. What is said of `EmittingTask` holds for it, with
/// every strategy, error policy and collection. Others may receive from the channel as well. It is a stream for which
/// an event is emitted when it is taken from the channel:
///
/// - `stats()`: `emitted = processed + failed + dead_lettered + discarded + in_progress`; `buffered` and `dropped` are
///   the channel's to count. A `T` gets its number, and the time at which it was created, when it is taken.
/// - `cancel(graceful)` takes no more, and processes what was taken. `forceful`, a timeout and the handle's destructor
///   also discard what was taken and not begun, `immediate` also cancels the receivers. What is in the channel stays
///   there: an event that meets a cancelled half is not taken.
/// - It completes when the channel is closed and empty. If that was with a reason, it fails with it, after what was
///   taken has been processed. The final event comes when all have returned. Its handles have been given up before: if
///   they were the last, who sends is told by `Errc::channel_closed`, and what is in the channel is dropped.
/// - `capacity(n)` bounds what is taken ahead of the events that are being processed: an eighth of it, as in a stream,
///   and what a strategy keeps for later.
template <class T, class C = void, class Collection = typename detail::default_collection<C>::type>
class [[nodiscard("destroying the handle cancels the receivers")]] ReceiverTask
    : public detail::StreamHandle<detail::StreamState<T, C, Collection>> {
 public:
  using value_type = T;
  using item_type = C;
  using collection_type = Collection;

  using detail::StreamHandle<detail::StreamState<T, C, Collection>>::StreamHandle;
};

}  // namespace weir
