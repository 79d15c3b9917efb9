/// The operations by completion token that wait, by execution context: a context that goes takes them along.
///
/// Protocol (tests/channel/channel_async_test.cpp and channel_threads_test.cpp break when one of these is broken):
///  1. An operation enters the list of its handler's context before it is queued in its channel.
///  2. Who takes it out of the channel's queue ends it: a peer, a close, its cancellation slot, or the context's end.
///  3. A peer's end: `leave`, the post of the handler, `posted`. In between the context stays up.
///  4. The context's end withdraws what is queued, waits until the others have been posted, and destroys what it
///     withdrew. What is posted the context destroys itself, later.
///  5. A channel's lock may be taken under the list's, never the other way round.
#pragma once

#include <mutex>
#include <thread>

#include <weir/asio.hpp>

namespace weir::detail {

class AsyncRegistry final : public asio::execution_context::service {
 public:
  /// The key under which Asio keeps the service: its type, so that a shared object with a copy of this finds it.
  static inline asio::detail::service_id<AsyncRegistry> id;

  struct Entry {
    Entry* prev = nullptr;
    Entry* next = nullptr;
    AsyncRegistry* registry = nullptr;
    /// Takes it out of its channel's queue. False: someone else has.
    bool (*withdraw)(Entry& self) noexcept = nullptr;
    /// Destroys it, and its handler uncalled.
    void (*destroy)(Entry& self) noexcept = nullptr;
  };

  explicit AsyncRegistry(asio::execution_context& context) : asio::execution_context::service(context) {}

  /// False when the context is going.
  [[nodiscard]] bool enter(Entry& entry) noexcept {
    const std::lock_guard lock(mutex_);
    if (down_) return false;
    entry.registry = this;
    link(entry, first_);
    return true;
  }
  void leave(Entry& entry) noexcept {
    const std::lock_guard lock(mutex_);
    unlink(entry, first_);
    ++posting_;
  }
  void posted() noexcept {
    const std::lock_guard lock(mutex_);
    --posting_;
  }

 private:
  static void link(Entry& entry, Entry*& first) noexcept {
    entry.prev = nullptr;
    entry.next = first;
    if (first) first->prev = &entry;
    first = &entry;
  }
  static void unlink(Entry& entry, Entry*& first) noexcept {
    (entry.prev ? entry.prev->next : first) = entry.next;
    if (entry.next) entry.next->prev = entry.prev;
  }

  void shutdown() noexcept override {
    Entry* withdrawn = nullptr;
    while (!withdraw_all(withdrawn)) std::this_thread::yield();
    while (withdrawn) {
      Entry& entry = *withdrawn;
      withdrawn = entry.next;
      entry.destroy(entry);
    }
  }
  /// False: some are being ended by others just now.
  [[nodiscard]] bool withdraw_all(Entry*& withdrawn) noexcept {
    const std::lock_guard lock(mutex_);
    down_ = true;
    for (Entry* entry = first_; entry;) {
      Entry* const next = entry->next;
      if (entry->withdraw(*entry)) {
        unlink(*entry, first_);
        link(*entry, withdrawn);
      }
      entry = next;
    }
    return first_ == nullptr && posting_ == 0;
  }

  std::mutex mutex_;
  Entry* first_ = nullptr;
  std::size_t posting_ = 0;
  bool down_ = false;
};

}  // namespace weir::detail
