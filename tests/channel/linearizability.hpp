// Whether what several threads saw of a channel could have happened one operation after the other.
//
// The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was tried
// ("Testing for linearizability", 2017): it takes, again and again, an operation that no unplaced one had returned
// before, if the sequential channel would have answered it in the same way; a pair of (what is placed, state of the
// channel) that failed once is not tried again. A thread does one thing at a time, so "what is placed" is one number
// for each thread.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace channel_test {

enum class Op : std::uint8_t {
  send,
  try_send,
  receive,
  try_receive,
  reserve,
  permit_send,
  permit_release,
  close,
  closed,
  copy_sender,
  drop_sender,
  copy_receiver,
  drop_receiver,
  cancel,  ///< asks that a wait of another thread be cancelled: see `Event::value`
  still,   ///< nothing was under way but what `History::waiting` names, all of it suspended
};

enum class Answer : std::uint8_t {
  done,       ///< sent, reserved, closed, copied, dropped
  value,      ///< received `Event::value`
  nothing,    ///< `try_receive`: empty; `closed`: not closed
  full,       ///< `try_send`
  closed,     ///< a send was refused; a receive saw the end; `closed`: it is
  cancelled,  ///< had no effect
};

struct Event {
  Op op = Op::send;
  Answer answer = Answer::done;
  /// What was sent or received. Of a cancel: 100 * thread + its step, or 100 * thread + `whole_thread`.
  int value = 0;
  /// In the time of all threads; an operation precedes another if it returned before that was called.
  std::uint64_t called = 0;
  std::uint64_t returned = 0;
  /// The step of the thread's program, which a cancel names.
  int step = 0;
};
inline constexpr int whole_thread = 99;

/// What each thread did, in its order.
struct History {
  std::size_t capacity = 1;
  std::uint8_t senders = 1;  ///< handles at the start
  std::uint8_t receivers = 1;
  std::vector<std::vector<Event>> threads;
  /// What waited at the moment of `Op::still`: a thread, and the place of the operation among what it did. A channel in
  /// which one of them could have gone on has forgotten to wake it.
  std::vector<std::pair<std::size_t, std::size_t>> waiting;
};

/// The sequential channel: first in, first out, bounded, with close.
class SequentialChannel {
 public:
  explicit SequentialChannel(const History& history)
      : capacity_(history.capacity), senders_(history.senders), receivers_(history.receivers) {}

  /// Whether it would have given this answer now; if so, it has the effect.
  [[nodiscard]] bool apply(const Event& event) {
    switch (event.op) {
      case Op::send:
      case Op::try_send:
        if (shut()) return event.answer == Answer::closed;
        if (full()) return event.op == Op::try_send && event.answer == Answer::full;
        if (event.answer != Answer::done) return false;
        values_.push_back(static_cast<char>(event.value));
        return true;
      case Op::receive:
      case Op::try_receive:
        if (!values_.empty()) {
          if (event.answer != Answer::value || values_.front() != static_cast<char>(event.value)) return false;
          values_.erase(values_.begin());
          return true;
        }
        if (event.op == Op::try_receive) return event.answer == Answer::nothing;
        return closed_ && reserved_ == 0 && event.answer == Answer::closed;
      case Op::reserve:
        if (shut()) return event.answer == Answer::closed;
        if (full() || event.answer != Answer::done) return false;
        ++reserved_;
        return true;
      case Op::permit_send:
        if (receivers_ == 0) return event.answer == Answer::closed;
        if (event.answer != Answer::done) return false;
        --reserved_;
        values_.push_back(static_cast<char>(event.value));
        return true;
      case Op::permit_release:
        --reserved_;
        return true;
      case Op::close:
        closed_ = true;
        return true;
      case Op::closed:
        return event.answer == (shut() ? Answer::closed : Answer::nothing);
      case Op::copy_sender:
        ++senders_;
        return true;
      case Op::drop_sender:
        if (--senders_ == 0) closed_ = true;
        return true;
      case Op::copy_receiver:
        ++receivers_;
        return true;
      case Op::drop_receiver:
        if (--receivers_ == 0) values_.clear();
        return true;
      case Op::cancel:
      case Op::still:
        return true;
    }
    return false;
  }

  /// Whether an operation that waits has nothing that it could do.
  [[nodiscard]] bool blocks(Op op) const noexcept {
    if (op == Op::receive) return values_.empty() && !(closed_ && reserved_ == 0);
    return !shut() && full();
  }

  [[nodiscard]] const std::string& values() const noexcept { return values_; }

  /// Everything that tells two states apart.
  void append_to(std::string& key) const {
    key += static_cast<char>(closed_);
    key += static_cast<char>(senders_);
    key += static_cast<char>(receivers_);
    key += static_cast<char>(reserved_);
    key += values_;
  }

 private:
  [[nodiscard]] bool shut() const noexcept { return closed_ || receivers_ == 0; }
  [[nodiscard]] bool full() const noexcept { return values_.size() + reserved_ >= capacity_; }

  std::size_t capacity_;
  std::size_t reserved_ = 0;
  bool closed_ = false;
  std::uint8_t senders_;
  std::uint8_t receivers_;
  std::string values_;
};

struct Verdict {
  bool linearizable = false;
  /// The search was given up: too many orders.
  bool undecided = false;
  /// What is wrong, if it is not the order.
  const char* fault = "there is no order of the operations in which a channel would have answered like this";
  std::uint64_t tried = 0;
};

namespace detail {

class OrderSearch {
 public:
  OrderSearch(const History& history, std::uint64_t limit) : limit_(limit) {
    for (const auto& thread : history.threads) {
      auto& mine = threads_.emplace_back();
      for (const Event& event : thread) {
        if (!has_effect(event)) continue;
        if (event.answer == Answer::value) {
          Receipt& receipt = receipts_[static_cast<std::size_t>(event.value) % receipts_.size()];
          receipt = {true, threads_.size() - 1, mine.size(), event.called, event.returned};
        }
        mine.push_back(event);
      }
    }
    placed_.resize(threads_.size());
    for (const auto& [thread, place] : history.waiting) {
      const auto& events = history.threads[thread];
      const auto before =
          std::count_if(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(place), has_effect);
      waiting_.push_back({thread, static_cast<std::size_t>(before), events[place].op});
    }
  }

  [[nodiscard]] Verdict run(const History& history) {
    Verdict verdict;
    verdict.linearizable = place(SequentialChannel(history));
    verdict.tried = failed_.size();
    verdict.undecided = !verdict.linearizable && failed_.size() >= limit_;
    return verdict;
  }

 private:
  /// By whom a value was received, and when.
  struct Receipt {
    bool received = false;
    std::size_t thread = 0;
    std::size_t place = 0;
    std::uint64_t called = static_cast<std::uint64_t>(-1);
    std::uint64_t returned = static_cast<std::uint64_t>(-1);
  };

  /// Whether the newest value can still be received after those before it in the way it was. The search would find out
  /// as well, but much later.
  [[nodiscard]] bool has_a_future(const SequentialChannel& channel) const {
    const std::string& values = channel.values();
    const Receipt& newest = receipts_[static_cast<std::size_t>(values.back())];
    if (!newest.received) return true;
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      const Receipt& older = receipts_[static_cast<std::size_t>(values[i])];
      if (!older.received || newest.returned < older.called) return false;
      if (older.thread == newest.thread && older.place > newest.place) return false;
    }
    return true;
  }

  /// One that waits, and what its thread did before.
  struct Waiting {
    std::size_t thread;
    std::size_t before;
    Op op;
  };

  [[nodiscard]] static bool has_effect(const Event& event) noexcept {
    return event.op != Op::cancel && event.answer != Answer::cancelled;
  }

  [[nodiscard]] bool may_be_still(const SequentialChannel& channel) const {
    return std::all_of(waiting_.begin(), waiting_.end(),
                       [&](const Waiting& one) { return placed_[one.thread] <= one.before && channel.blocks(one.op); });
  }

  [[nodiscard]] const Event* next_of(std::size_t thread) const {
    return placed_[thread] < threads_[thread].size() ? &threads_[thread][placed_[thread]] : nullptr;
  }

  [[nodiscard]] bool place(const SequentialChannel& channel) {
    // Those that returned first are tried first: most histories are close to that order.
    std::array<std::size_t, 8> order{};
    std::size_t ready = 0;
    std::uint64_t first_return = static_cast<std::uint64_t>(-1);
    for (std::size_t t = 0; t < threads_.size(); ++t) {
      if (const Event* const next = next_of(t)) {
        first_return = std::min(first_return, next->returned);
        assert(ready < order.size());
        order[ready++] = t;
      }
    }
    if (ready == 0) return true;
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(ready),
              [this](std::size_t a, std::size_t b) { return next_of(a)->returned < next_of(b)->returned; });

    std::string key;
    for (const std::size_t n : placed_) key += static_cast<char>(n);
    channel.append_to(key);
    if (failed_.size() >= limit_ || failed_.contains(key)) return false;

    for (std::size_t i = 0; i < ready; ++i) {
      const Event& event = *next_of(order[i]);
      if (event.called > first_return) continue;
      SequentialChannel after = channel;
      if (!after.apply(event)) continue;
      if (after.values().size() > channel.values().size() && !has_a_future(after)) continue;
      if (event.op == Op::still && !may_be_still(channel)) continue;
      ++placed_[order[i]];
      if (place(after)) return true;
      --placed_[order[i]];
    }
    failed_.insert(std::move(key));
    return false;
  }

  std::uint64_t limit_;
  std::vector<std::vector<Event>> threads_;
  std::vector<std::size_t> placed_;
  std::unordered_set<std::string> failed_;
  std::array<Receipt, 128> receipts_{};
  std::vector<Waiting> waiting_;
};

/// A wait that was cancelled must have been asked to end, before it did.
[[nodiscard]] inline bool cancels_were_asked_for(const History& history) {
  for (std::size_t t = 0; t < history.threads.size(); ++t) {
    for (const Event& event : history.threads[t]) {
      if (event.answer != Answer::cancelled) continue;
      const int target = static_cast<int>(t) * 100;
      bool asked = false;
      for (const auto& thread : history.threads) {
        for (const Event& other : thread) {
          asked = asked || (other.op == Op::cancel && other.called < event.returned &&
                            (other.value == target + event.step || other.value == target + whole_thread));
        }
      }
      if (!asked) return false;
    }
  }
  return true;
}

}  // namespace detail

/// Judges a history of at most eight threads with fewer than 128 distinct values. Gives up after `limit` failed states.
[[nodiscard]] inline Verdict check_linearizable(const History& history, std::uint64_t limit = 5'000'000) {
  if (!detail::cancels_were_asked_for(history)) {
    Verdict verdict;
    verdict.fault = "a wait was cancelled that nobody had asked to end";
    return verdict;
  }
  return detail::OrderSearch(history, limit).run(history);
}

/// For people: one line for each operation, in the order of their calls.
[[nodiscard]] inline std::string to_text(const History& history) {
  static constexpr const char* ops[] = {"send",        "try_send",       "receive",       "try_receive", "reserve",
                                        "permit.send", "permit.release", "close",         "closed?",     "copy sender",
                                        "drop sender", "copy receiver",  "drop receiver", "cancel",      "still"};
  static constexpr const char* answers[] = {"done", "value", "nothing", "full", "closed", "cancelled"};
  struct Line {
    std::size_t thread;
    const Event* event;
  };
  std::vector<Line> lines;
  for (std::size_t t = 0; t < history.threads.size(); ++t) {
    for (const Event& event : history.threads[t]) lines.push_back({t, &event});
  }
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    if (a.event->called != b.event->called) return a.event->called < b.event->called;
    return a.thread != b.thread ? a.thread < b.thread : a.event->step < b.event->step;
  });
  std::string text = "capacity " + std::to_string(history.capacity) + ", " + std::to_string(history.senders) +
                     " sender and " + std::to_string(history.receivers) + " receiver handles at the start\n";
  for (const Line& line : lines) {
    const Event& event = *line.event;
    text += "  [" + std::to_string(event.called) + ", " + std::to_string(event.returned) + "] thread " +
            std::to_string(line.thread) + " step " + std::to_string(event.step) + ": " +
            ops[static_cast<std::size_t>(event.op)];
    const bool has_value =
        event.op == Op::send || event.op == Op::try_send || event.op == Op::permit_send || event.op == Op::cancel;
    if (has_value) text += " " + std::to_string(event.value);
    text += std::string(" -> ") + answers[static_cast<std::size_t>(event.answer)];
    if (event.answer == Answer::value) text += " " + std::to_string(event.value);
    text += "\n";
  }
  return text;
}

}  // namespace channel_test
