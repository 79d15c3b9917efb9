/// Handlers, the lists of them that topics have, and the table of the topics.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <weir/bus/detail/event_owner.hpp>
#include <weir/bus/event_context.hpp>
#include <weir/bus/topic.hpp>
#include <weir/core/task.hpp>

namespace weir::detail {

/// A handler and its conditions. Counted by its subscription and by the lists that it is in, all under the lock of the
/// bus; destroyed after it.
struct BusHandler {
  BusHandler() = default;
  BusHandler(const BusHandler&) = delete;
  BusHandler& operator=(const BusHandler&) = delete;
  virtual ~BusHandler() = default;

  /// Whether the predicate, if there is one, lets it through. May throw.
  virtual bool wants(const Event& event) = 0;
  /// A plain function runs. False: it was not called, because it has gone with its plugin.
  virtual bool call(EventContext& context) = 0;
  /// A coroutine is made, not started.
  virtual Task<> call_later(EventContext& context) = 0;
  /// Undoes what a call did, if it has a compensator.
  virtual Task<> compensate(const Event&) { return {}; }

  std::string pattern;
  int phase = 0;
  std::uint64_t order = 0;
  bool once = false;
  bool has_predicate = false;
  bool is_coroutine = false;
  bool parallel = false;
  bool has_compensator = false;
  bool wants_last_value = false;
  /// It is called for each event.
  [[nodiscard]] bool is_unconditional() const noexcept { return !once && !has_predicate; }
  /// How often an event of a saga that has not ended may have it called, or undone. Under the lock.
  std::uint32_t pins = 0;
  /// Both may run for an event at the same time.
  [[nodiscard]] bool runs_beside(const BusHandler& other) const noexcept {
    return parallel && other.parallel && phase == other.phase;
  }
  /// `once` was used.
  std::atomic<bool> spent{false};
  /// Unsubscribed. Written under the lock; see rule 6 of bus_core.hpp for who reads it.
  std::atomic<bool> gone{false};
  std::uint32_t refs = 1;
  BusHandler* next_dead = nullptr;
  /// Whose it is, if it is a plugin's.
  const EventOwner* owner = nullptr;
};

/// What is destroyed when the lock has been let go of, because it is the users'.
struct HandlerTrash {
  HandlerTrash() = default;
  HandlerTrash(const HandlerTrash&) = delete;
  HandlerTrash& operator=(const HandlerTrash&) = delete;
  ~HandlerTrash() {
    while (BusHandler* const handler = dead) {
      dead = handler->next_dead;
      delete handler;
    }
  }
  void release(BusHandler& handler) noexcept {
    if (--handler.refs != 0) return;
    handler.next_dead = dead;
    dead = &handler;
  }

  BusHandler* dead = nullptr;
};

/// A topic that a bus knows: its text, and the handlers that it is delivered to, by phase and then in the order of
/// their subscription. While events run with a list it is not changed: who subscribes makes a copy, who unsubscribes
/// leaves a handler in it that is skipped.
struct TopicEntry {
  struct Handlers {
    /// Whether none is a coroutine.
    [[nodiscard]] bool plain() const noexcept {
      return std::none_of(list.begin(), list.end(), [](const BusHandler* handler) { return handler->is_coroutine; });
    }

    std::vector<BusHandler*> list;
    /// What `plain` said when the list was made.
    bool all_plain = true;
    /// Events that run with it; those that a worker took together count once.
    std::uint32_t running = 0;
    /// Whether it is what the topic's next event runs with.
    bool current = true;
    /// A handler has gone, and could not be taken out.
    bool stale = false;
  };

  std::unique_ptr<TopicText, decltype(&TopicText::destroy)> text{nullptr, &TopicText::destroy};
  Handlers* handlers = nullptr;
  /// Events that are queued or run, and the last value.
  std::size_t events = 0;
  /// Whether a last value is kept, which it is, and how many handlers are still to be given one.
  bool keeps = false;
  RecordBase* last_value = nullptr;
  std::size_t deliveries = 0;
};

/// All under the lock of the bus.
class TopicTable {
 public:
  TopicTable() = default;
  TopicTable(const TopicTable&) = delete;
  TopicTable& operator=(const TopicTable&) = delete;
  ~TopicTable() {
    HandlerTrash trash;
    for (auto& [text, entry] : entries_) retire(*entry.handlers, trash);
    for (BusHandler* const handler : handlers_) trash.release(*handler);
  }

  /// The entry of a topic, made if need be. O(1), or O(handlers) for one that is new.
  [[nodiscard]] TopicEntry& entry(std::string_view topic, HandlerTrash& trash) {
    if (const auto found = entries_.find(topic); found != entries_.end()) return found->second;
    check_topic(topic);
    if (entries_.size() >= limit_) sweep(trash);
    TopicEntry made;
    made.text.reset(TopicText::make(topic));
    made.keeps = std::any_of(kept_.begin(), kept_.end(), [topic](const auto& p) { return topic_matches(p, topic); });
    auto handlers = std::make_unique<TopicEntry::Handlers>();
    for (BusHandler* const handler : handlers_) {
      if (topic_matches(handler->pattern, topic)) handlers->list.push_back(handler);
    }
    const auto text = made.text->view();
    TopicEntry& entry = entries_.emplace(text, std::move(made)).first->second;
    for (BusHandler* const handler : handlers->list) ++handler->refs;
    handlers->all_plain = handlers->plain();
    entry.handlers = handlers.release();
    return entry;
  }

  /// From now on last values are kept of the topics that the pattern chooses. O(topics). Strong guarantee.
  void keep(std::string_view pattern) {
    kept_.emplace_back(pattern);
    for (auto& [text, entry] : entries_) entry.keeps = entry.keeps || topic_matches(pattern, text);
    ++changes_;
  }

  /// How often entries were forgotten, or began to keep values.
  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }

  /// Adds a handler to each topic that it is for. O(topics + handlers). Strong guarantee.
  void add(BusHandler& handler, HandlerTrash& trash) {
    handlers_.reserve(handlers_.size() + 1);
    std::vector<std::pair<TopicEntry*, std::unique_ptr<TopicEntry::Handlers>>> changed;
    for (auto& [text, entry] : entries_) {
      if (!topic_matches(handler.pattern, text)) continue;
      auto copy = std::make_unique<TopicEntry::Handlers>();
      copy->list.reserve(entry.handlers->list.size() + 1);
      for (BusHandler* const other : entry.handlers->list) {
        if (!other->gone.load(std::memory_order_relaxed)) copy->list.push_back(other);
      }
      insert(copy->list, handler);
      copy->all_plain = copy->plain();
      changed.emplace_back(&entry, std::move(copy));
    }
    insert(handlers_, handler);
    ++handler.refs;
    for (auto& [entry, copy] : changed) {
      for (BusHandler* const member : copy->list) ++member->refs;
      retire(*entry->handlers, trash);
      entry->handlers = copy.release();
    }
  }

  /// Takes a handler out of every list that is not in use; out of the others when they are left. O(topics).
  void remove(BusHandler& handler, HandlerTrash& trash) noexcept {
    const auto found = std::find(handlers_.begin(), handlers_.end(), &handler);
    if (found == handlers_.end()) return;
    handlers_.erase(found);
    for (auto& [text, entry] : entries_) {
      TopicEntry::Handlers& handlers = *entry.handlers;
      const auto place = std::find(handlers.list.begin(), handlers.list.end(), &handler);
      if (place == handlers.list.end()) continue;
      if (handlers.running == 0) {
        handlers.list.erase(place);
        trash.release(handler);
      } else {
        handlers.stale = true;
      }
    }
    trash.release(handler);
  }

  /// One of the subscribed handlers of an owner, or null. O(handlers).
  [[nodiscard]] BusHandler* find(const EventOwner& owner) const noexcept {
    const auto found = std::find_if(handlers_.begin(), handlers_.end(),
                                    [&owner](const BusHandler* handler) { return handler->owner == &owner; });
    return found == handlers_.end() ? nullptr : *found;
  }

  /// An event has ended that ran with the list.
  static void leave(TopicEntry::Handlers& handlers, HandlerTrash& trash) noexcept {
    if (--handlers.running != 0) return;
    if (!handlers.current) {
      drop(handlers, trash);
    } else if (std::exchange(handlers.stale, false)) {
      std::erase_if(handlers.list, [&trash](BusHandler* handler) {
        if (!handler->gone.load(std::memory_order_relaxed)) return false;
        trash.release(*handler);
        return true;
      });
    }
  }

 private:
  static void retire(TopicEntry::Handlers& handlers, HandlerTrash& trash) noexcept {
    handlers.current = false;
    if (handlers.running == 0) drop(handlers, trash);
  }
  static void drop(TopicEntry::Handlers& handlers, HandlerTrash& trash) noexcept {
    for (BusHandler* const handler : handlers.list) trash.release(*handler);
    delete &handlers;
  }

  static void insert(std::vector<BusHandler*>& list, BusHandler& handler) {
    const auto place =
        std::upper_bound(list.begin(), list.end(), &handler, [](const BusHandler* a, const BusHandler* b) {
          return a->phase != b->phase ? a->phase < b->phase : a->order < b->order;
        });
    list.insert(place, &handler);
  }

  /// Forgets the topics of which nothing is queued and nothing runs: a program that makes topics up does not fill the
  /// memory with them.
  void sweep(HandlerTrash& trash) noexcept {
    ++changes_;
    for (auto item = entries_.begin(); item != entries_.end();) {
      if (item->second.events != 0) {
        ++item;
        continue;
      }
      retire(*item->second.handlers, trash);
      item = entries_.erase(item);
    }
    limit_ = std::max(first_limit_, 2 * entries_.size());
  }

  static constexpr std::size_t first_limit_ = 1024;

  std::unordered_map<std::string_view, TopicEntry> entries_;
  std::vector<BusHandler*> handlers_;
  std::vector<std::string> kept_;
  std::size_t limit_ = first_limit_;
  std::uint64_t changes_ = 0;
};

}  // namespace weir::detail
