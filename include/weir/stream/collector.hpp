/// The collector: where the workers of a stream put what they found.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>
#include <weir/stream/collect.hpp>

namespace weir {

/// What went wrong with one event.
struct EventError {
  EventError(std::uint64_t id, std::exception_ptr what);

  std::uint64_t event_id;
  std::exception_ptr error;
  std::string message;  ///< `what()` of the exception
};

namespace detail {

inline std::string message_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (const std::string& text) {
    return text;
  } catch (const char* text) {
    return text;
  } catch (...) {
    return "unknown exception";
  }
}

/// What a receiver that returns `C` has to collect: something even for `void`.
template <class C>
using item_t = std::conditional_t<std::is_void_v<C>, Nothing, C>;

template <class C>
struct default_collection {
  using type = std::vector<C>;
};
template <>
struct default_collection<void> {
  using type = Nothing;
};

/// What `collect(key, item)` takes as key for a collection: nothing, where there are no keys.
template <class Collection>
struct collection_key {
  using type = Nothing;
};
template <class Collection>
  requires requires {
    typename Collection::key_type;
    typename Collection::mapped_type;
  }
struct collection_key<Collection> {
  using type = typename Collection::key_type;
};

/// One item that waits to be added.
template <class Key, class Item>
struct StagedItem {
  std::optional<Key> key;
  Item item;
};
template <class Item>
struct StagedItem<Nothing, Item> {
  static constexpr std::optional<Nothing> key{};
  Item item;
};

/// The collection, its errors and their lock; the policy is in the derived class.
///
/// Protocol:
///  1. `collection` and `errors` are guarded by `mutex`, each part by its own. A part is another collection of the same
///     policy, empty or not there at first. What was collected is the merge of all of them, in any order.
///  2. A run of items is added to one part, in one go. Who adds holds one mutex. Who looks holds all of them at once,
///     taken in one order, so that what it sees is what there was at one moment.
///  3. Merging empties the parts: what is in one is in the collection before its mutex is given back.
/// tests/stream/collector_test.cpp breaks when one of these is broken.
template <class C, class Collection>
class CollectorSink {
 public:
  using Item = item_t<C>;
  using Key = typename collection_key<Collection>::type;

  /// On a line of its own: another worker has the next one.
  struct alignas(64) Part {
    std::mutex mutex;
    std::optional<Collection> collection;
  };

  explicit CollectorSink(Collection&& empty) : collection(std::move(empty)) {}
  CollectorSink(const CollectorSink&) = delete;
  CollectorSink& operator=(const CollectorSink&) = delete;
  virtual ~CollectorSink() = default;

  /// Under the lock.
  virtual void add(Item&& item) = 0;
  virtual void add(Key&& key, Item&& item) = 0;
  /// Under no lock. A run of items, from `next` on, which it moves on: when one throws, it is behind that one.
  virtual void add_run(std::span<StagedItem<Key, Item>> items, std::size_t& next, std::size_t part) = 0;
  virtual void add_run(std::span<Item> items, std::size_t& next, std::size_t part) = 0;
  virtual void merge(Collection& into, Collection&& from) = 0;

  void lock() const noexcept(false) {
    mutex.lock();
    for (Part& part : parts) part.mutex.lock();
  }
  void unlock() const noexcept {
    for (Part& part : parts) part.mutex.unlock();
    mutex.unlock();
  }

  mutable std::mutex mutex;
  Collection collection;
  std::vector<EventError> errors;
  /// None where the policy can't merge.
  std::span<Part> parts;
};

template <class C, class Collection, class P>
class PolicySink final : public CollectorSink<C, Collection> {
  using Sink = CollectorSink<C, Collection>;

 public:
  using typename Sink::Item;
  using typename Sink::Key;

  explicit PolicySink(P policy) : Sink(collect::detail::start<Item>(policy)), policy_(std::move(policy)) {
    this->parts = parts_;
  }

  void add(Item&& item) override { policy_.add(this->collection, std::move(item)); }
  void add(Key&& key, Item&& item) override { add(this->collection, std::move(key), std::move(item)); }
  void add_run(std::span<StagedItem<Key, Item>> items, std::size_t& next, std::size_t part) override {
    with_part(part, next, [&](Collection& to) {
      while (next != items.size()) {
        StagedItem<Key, Item>& staged = items[next++];
        if constexpr (!std::same_as<Key, Nothing>) {
          if (staged.key) {
            add(to, std::move(*staged.key), std::move(staged.item));
            continue;
          }
        }
        policy_.add(to, std::move(staged.item));
      }
    });
  }
  void add_run(std::span<Item> items, std::size_t& next, std::size_t part) override {
    with_part(part, next, [&](Collection& to) {
      while (next != items.size()) policy_.add(to, std::move(items[next++]));
    });
  }
  void merge(Collection& into, Collection&& from) override {
    if constexpr (merges) policy_.merge(into, std::move(from));
  }

 private:
  static constexpr bool merges = collect::MergingPolicy<P, Item>;

  void add(Collection& to, Key&& key, Item&& item) {
    if constexpr (requires { policy_.add(to, std::move(key), std::move(item)); }) {
      policy_.add(to, std::move(key), std::move(item));
    } else {
      throw Error(Errc::invalid_argument, "collect(key, item): the collection policy of this stream has no keys");
    }
  }

  template <class AddTo>
  void with_part(std::size_t number, std::size_t& next, AddTo add_to) {
    if constexpr (merges) {
      if (const std::size_t i = number % (parts_.size() + 1); i != 0) {
        typename Sink::Part& part = parts_[i - 1];
        const std::lock_guard lock(part.mutex);
        if (!part.collection) {
          ++next;
          part.collection.emplace(collect::detail::start<Item>(policy_));
          --next;
        }
        add_to(*part.collection);
        return;
      }
    }
    const std::lock_guard lock(this->mutex);
    add_to(this->collection);
  }

  const P policy_;
  /// Besides the collection itself, which is the part of the first worker.
  std::array<typename Sink::Part, merges ? 7 : 0> parts_;
};

}  // namespace detail

/// Gathers items of type `C` into a `Collection` by a policy of `weir::collect` or the user's own, whose type it
/// hides. Copies share the collection. Every member may be called from any thread; each takes the collector's lock for
/// a moment. Adding allocates what the collection does.
///
/// A receiver that takes a second parameter is given one for its call: what it collects with it is gathered beside the
/// collection, without a lock, and added when the receiver has returned, a run of quick events in one go. If the
/// receiver throws, it is dropped. That one is not for two threads at once: others that work for the receiver take a
/// copy, which adds at once.
///
///     .receiver(weir::parallel(4), [](const auto& event, auto& out) { for (auto& w : words(event.data()))
///     out.collect(w); }) .collecting<std::string>()
template <class C, class Collection = typename detail::default_collection<C>::type>
class Collector {
 public:
  using Item = detail::item_t<C>;
  using Key = typename detail::collection_key<Collection>::type;

  /// How many errors are kept with their text. The rest is counted, in `StreamStats::failed`, but not kept, so that a
  /// stream whose every event fails stays bounded.
  static constexpr std::size_t max_errors = 1024;

  Collector(const Collector& other) noexcept : sink_(other.sink_) {}
  Collector(Collector&& other) noexcept = default;
  Collector& operator=(Collector other) noexcept {
    sink_ = std::move(other.sink_);
    staged_ = nullptr;
    return *this;
  }

  Collector()
    requires collect::Policy<collect::List, Item> && std::same_as<Collection, std::vector<Item>>
      : Collector(collect::list) {}
  template <class P>
    requires(!std::same_as<P, Collector>) && collect::Policy<P, Item>
  explicit Collector(P policy) : sink_(std::make_shared<detail::PolicySink<C, Collection, P>>(std::move(policy))) {}

  /// Adds an item. Throws what the policy throws.
  void collect(Item item) {
    if (!staged_) {
      collect_now(std::move(item));
    } else if constexpr (std::same_as<Key, Nothing>) {
      staged_->push_back({std::move(item)});
    } else {
      staged_->push_back({std::nullopt, std::move(item)});
    }
  }

  /// Adds an item under a key, for a collection with keys such as that of `collect::keyed`.
  void collect(Key key, Item item)
    requires(!std::same_as<Key, Nothing>)
  {
    if (staged_) {
      staged_->push_back({std::move(key), std::move(item)});
      return;
    }
    const std::lock_guard lock(sink_->mutex);
    sink_->add(std::move(key), std::move(item));
  }

  /// Adds an error that did not end the event: it appears in `FinalEvent::errors`, and changes no count.
  void collect_error(std::uint64_t event_id, std::exception_ptr error) {
    const std::lock_guard lock(sink_->mutex);
    if (sink_->errors.size() < max_errors) sink_->errors.emplace_back(event_id, std::move(error));
  }

  /// A copy of what is there now, taken without stopping anybody: who wants to add meanwhile waits for the copying, no
  /// longer. Of a running stream it contains at least what came of every event that `StreamStats::processed` counted
  /// before the call, and of each event all or nothing (but for what was added by a copy of its collector).
  [[nodiscard]] Collection collected() const
    requires std::copy_constructible<Collection>
  {
    const std::lock_guard lock(*sink_);
    Collection all(std::as_const(sink_->collection));
    for (const auto& part : sink_->parts) {
      if (part.collection) sink_->merge(all, Collection(*part.collection));
    }
    return all;
  }
  [[nodiscard]] std::vector<EventError> errors() const {
    const std::lock_guard lock(sink_->mutex);
    return sink_->errors;
  }

  /// Moves the collection out, and leaves one that was moved from. For the one who owns the collector.
  [[nodiscard]] Collection take() {
    merge_parts();
    const std::lock_guard lock(sink_->mutex);
    return std::move(sink_->collection);
  }
  /// Merges what workers collected by themselves into the collection, which `take()` does as well. Throws what the
  /// policy throws: then the part that it threw for is dropped, and calling it again merges the others.
  void merge_parts() {
    const std::lock_guard lock(*sink_);
    for (auto& part : sink_->parts) {
      if (!part.collection) continue;
      std::optional<Collection> from = std::exchange(part.collection, std::nullopt);
      sink_->merge(sink_->collection, std::move(*from));
    }
  }
  [[nodiscard]] std::vector<EventError> take_errors() {
    const std::lock_guard lock(sink_->mutex);
    return std::move(sink_->errors);
  }

  /// One item that waits for its turn: see `stage_into`.
  using Staged = detail::StagedItem<Key, Item>;

  /// For strategies that settle events in another order than they process them: the same collector, except that what
  /// is collected goes to `items`, which `collect_staged` adds later. Not shared between threads.
  [[nodiscard]] Collector stage_into(std::vector<Staged>& items) const { return Collector(sink_, &items); }
  /// Under one lock. When the policy throws, those before the one that it threw for have been added, and all are
  /// dropped.
  void collect_staged(std::vector<Staged>& items) {
    std::size_t next = 0;
    try {
      collect_run(items, next);
    } catch (...) {
      items.clear();
      throw;
    }
    items.clear();
  }
  /// The same from `next` on, which it moves on: when the policy throws, it is behind the item that it threw for. With
  /// a policy that merges, what is given a `part` other than 0 goes to a collection of its own, which few or no others
  /// add to, until somebody looks; the order between parts is lost.
  void collect_run(std::span<Staged> items, std::size_t& next, std::size_t part = 0) {
    sink_->add_run(items, next, part);
  }
  void collect_run(std::span<Item> items, std::size_t& next, std::size_t part = 0) {
    sink_->add_run(items, next, part);
  }

 private:
  Collector(std::shared_ptr<detail::CollectorSink<C, Collection>> sink, std::vector<Staged>* staged) noexcept
      : sink_(std::move(sink)), staged_(staged) {}

  [[gnu::noinline]] void collect_now(Item&& item) {
    const std::lock_guard lock(sink_->mutex);
    sink_->add(std::move(item));
  }

  std::shared_ptr<detail::CollectorSink<C, Collection>> sink_;
  std::vector<Staged>* staged_ = nullptr;
};

inline EventError::EventError(std::uint64_t id, std::exception_ptr what)
    : event_id(id), error(std::move(what)), message(detail::message_of(error)) {}

}  // namespace weir
