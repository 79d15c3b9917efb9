/// The sending half of a stream, into a channel of the user's.
#pragma once

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/stream_handle.hpp>
#include <weir/stream/detail/stream_state.hpp>

namespace weir {

/// A sender that emits `T`s into a channel of the user's: made by `emits<T>(...).sender(...).start_into(tx)`, where
/// `tx` is a `ChannelSender<T>`, or a `ChannelSender<SenderEvent<T>>` for events that keep their number and time up to
/// a `ReceiverTask`. What is said of `EmittingTask` holds for it. It is a stream for which an event is processed when
/// it is in the channel:
///
/// - `stats()`: `emitted = processed + discarded + buffered`. `processed` are in the channel, or beyond: what becomes
///   of them there the channel counts. `buffered` are what a strategy of the sender has gathered, and `discarded` what
///   could not go: the stream was stopped forcefully, or the channel was closed.
/// - `cancel(graceful)` stops the sender, and what was emitted goes into the channel. The other levels, a timeout and
///   the handle's destructor also discard what was gathered. Nothing is taken out of the channel.
/// - The final event comes when the sender has returned. Its copy of the handle has been given up before: if that was
///   the last, the channel is closed then. A sender that throws fails the half; the channel gets no reason.
/// - When nobody receives any more, emitting throws `Error(Errc::channel_closed)`, and unless the sender's function
///   deals with that, the half has failed.
template <class T>
class [[nodiscard("destroying the handle cancels the sender")]] SenderTask
    : public detail::StreamHandle<detail::StreamState<T, void, Nothing>> {
 public:
  using value_type = T;

  using detail::StreamHandle<detail::StreamState<T, void, Nothing>>::StreamHandle;
};

}  // namespace weir
