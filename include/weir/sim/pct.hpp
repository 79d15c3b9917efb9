/// Probabilistic concurrency testing: a random scheduler that finds bugs with a probability that can be told.
///
/// Sebastian Burckhardt, Pravesh Kothari, Madanlal Musuvathi, Santosh Nagarakatte: "A Randomized Scheduler with
/// Probabilistic Guarantees of Finding Bugs", ASPLOS 2010.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <weir/sim/strategy.hpp>

namespace weir::sim {

struct PctOptions {
  /// How many orderings must come together for the bug: 1 is an order of two events that is not what was meant, 2 an
  /// atomicity violation or a deadlock of two. From 1.
  unsigned depth = 3;
  /// About how many steps a run has. A change of priority behind its end never happens; too large a length wastes runs.
  std::uint64_t length = 100;
  /// A party that was preferred to others so many times in a row goes behind all of them: it polls for what they do.
  std::uint64_t patience = 100;
};

/// Each party has a random priority, and the highest one that is ready runs. At `depth - 1` random steps the party that
/// made that step gets a low priority, the i-th of them priority i. With n parties and k steps, a bug of depth d is
/// found by one run with a probability of at least 1 / (n * k^(d-1)), however unlikely it is in a uniformly random
/// schedule.
///
/// A party is a root, or a handler that is not the turn of a root: each of those has a priority of its own. The
/// guarantee is for roots that do not poll; see `PctOptions::patience`. O(ready) a choice. The same seed and options
/// give the same answers on every machine.
class PctStrategy final : public Strategy {
 public:
  /// Throws `Error(Errc::invalid_argument)` for a depth, a length or a patience of 0.
  explicit PctStrategy(std::uint64_t seed, const PctOptions& options = {})
      : handlers_(detail::RandomNumbers::at(~seed, 1)), random_(seed), patience_(options.patience) {
    if (options.depth == 0 || options.length == 0 || options.patience == 0) {
      throw Error(Errc::invalid_argument, "PCT needs a depth, a length and a patience of 1 or more");
    }
    changes_.reserve(options.depth - 1);
    const std::uint64_t length = std::min(options.length, std::uint64_t{0xffff'ffff});
    for (unsigned i = 1; i < options.depth; ++i) changes_.push_back({1 + random_.below(length), lowered + i});
    std::ranges::sort(changes_, {}, &Change::step);
  }

  [[nodiscard]] std::size_t choose(std::span<const Ready> ready) override {
    std::size_t best = 0;
    std::uint64_t highest = priority(ready[0]);
    for (std::size_t i = 1; i < ready.size(); ++i) {
      const std::uint64_t other = priority(ready[i]);
      if (other <= highest) continue;
      highest = other;
      best = i;
    }
    be_patient(ready[best]);
    return best;
  }

  void runs(const Ready& next) override {
    ++steps_;
    while (next_change_ != changes_.size() && changes_[next_change_].step == steps_) {
      set_priority(next, changes_[next_change_++].priority);
    }
  }

 private:
  struct Change {
    std::uint64_t step;
    std::uint64_t priority;
  };

  /// What is drawn at first lies above, what a change gives just above, and what ran out of patience below.
  static constexpr std::uint64_t lowered = std::uint64_t{1} << 62;
  static constexpr std::uint64_t drawn = std::uint64_t{1} << 63;

  [[nodiscard]] std::uint64_t priority(const Ready& party) {
    // It runs once, so nothing need be remembered.
    if (party.root == 0) return drawn | detail::RandomNumbers::at(handlers_, party.number);
    return of_root(party.root);
  }
  /// 0 until it is drawn.
  std::uint64_t& of_root(std::uint64_t root) {
    if (root >= roots_.size()) roots_.resize(static_cast<std::size_t>(root) + 8);
    std::uint64_t& priority = roots_[static_cast<std::size_t>(root)];
    if (priority == 0) priority = drawn | random_.next();
    return priority;
  }
  void set_priority(const Ready& party, std::uint64_t priority) {
    if (party.root != 0) of_root(party.root) = priority;
  }

  void be_patient(const Ready& party) {
    in_a_row_ = party.root != 0 && party.root == preferred_ ? in_a_row_ + 1 : 1;
    preferred_ = party.root;
    if (in_a_row_ <= patience_) return;
    in_a_row_ = 0;
    set_priority(party, lowered - ++impatient_);
  }

  const std::uint64_t handlers_;
  detail::RandomNumbers random_;
  const std::uint64_t patience_;
  std::vector<Change> changes_;
  std::size_t next_change_ = 0;
  std::vector<std::uint64_t> roots_;
  std::uint64_t steps_ = 0;
  std::uint64_t preferred_ = 0;
  std::uint64_t in_a_row_ = 0;
  std::uint64_t impatient_ = 0;
};

/// A `PctStrategy`, for the constructor of a `Simulator`.
[[nodiscard]] inline std::unique_ptr<Strategy> pct(std::uint64_t seed, unsigned depth = 3, std::uint64_t length = 100) {
  return std::make_unique<PctStrategy>(seed, PctOptions{.depth = depth, .length = length});
}

}  // namespace weir::sim
