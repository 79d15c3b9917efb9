/// What coroutine frames leave behind in this program or shared object.
#pragma once

#include <weir/core/detail/frame_memory.hpp>

namespace weir {

/// Frees the blocks that threads keep of the frames of coroutines that have ended. Only while no thread runs a
/// coroutine of the library with this copy of its code: for a shared object with a copy of its own, when it is about to
/// be unloaded, which else would leave up to 256 KiB a thread behind. O(blocks).
inline void release_frame_memory() noexcept { detail::FramePool::clear(); }

}  // namespace weir
