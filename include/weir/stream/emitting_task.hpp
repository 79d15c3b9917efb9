/// The handle of a running stream.
#pragma once

#include <memory>

#include <weir/stream/collector.hpp>
#include <weir/stream/detail/stream_handle.hpp>
#include <weir/stream/detail/stream_state.hpp>

namespace weir {

/// A stream of `T`s whose receivers return `C`s that are gathered in a `Collection`: made by `emits<T>(...).start()`.
/// It hides the types of functions, strategy and executor, so that a class can have it as a member. Movable. Every
/// member function may be called from any thread, and throws `Error(Errc::empty_handle)` when the handle was moved
/// from.
///
/// Destroying it cancels the stream forcefully and does not wait: what still runs owns what it needs, but not what the
/// user's functions refer to. Who must know that nothing runs any more awaits `join()` first.
///
/// The final event comes exactly once, when the sender and every receiver have returned and their captures are
/// destroyed, whatever happens: also when the execution context of the stream ends first (then it is `cancelled`), for
/// those who wait in another one.
template <class T, class C = void, class Collection = typename detail::default_collection<C>::type>
class [[nodiscard("destroying the handle cancels the stream")]] EmittingTask
    : public detail::StreamHandle<detail::StreamState<T, C, Collection>> {
 public:
  using value_type = T;
  using item_type = C;
  using collection_type = Collection;

  using detail::StreamHandle<detail::StreamState<T, C, Collection>>::StreamHandle;
};

}  // namespace weir
