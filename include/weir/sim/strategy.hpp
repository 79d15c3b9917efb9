/// How the simulator picks what runs next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <weir/core/error.hpp>

namespace weir::sim {

/// A handler that is ready to run, as a strategy sees it.
struct Ready {
  /// From 1 in the order of posting.
  std::uint64_t number;
  /// The number of the root whose turn it is (`Home::id`: from 1 in the order of spawning). 0: another handler, or a
  /// root whose executor is wrapped, in an `any_io_executor` or a strand.
  std::uint64_t root = 0;
};

/// Picks the next handler. Asked only when there is a choice, on the simulator's thread. A strategy of one's own is a
/// class that implements `choose`; the same strategy in the same state must give the same answers, or nothing can be
/// repeated.
class Strategy {
 public:
  Strategy() = default;
  Strategy(const Strategy&) = delete;
  Strategy& operator=(const Strategy&) = delete;
  virtual ~Strategy() = default;

  /// What is ready, the longest waiting first. Returns an index into it; there are at least two.
  [[nodiscard]] virtual std::size_t choose(std::span<const Ready> ready) = 0;
  /// Told of each handler before it is run, also of one that was the only choice.
  virtual void runs(const Ready& /*next*/) {}
};

namespace detail {

/// SplitMix64: any seed is a good one, also 0, 1, 2 and so on; the same numbers on every machine.
class RandomNumbers {
 public:
  explicit RandomNumbers(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept { return mix(state_ += increment); }
  /// Below `count`, which is below 2^32: the high half of the product, without a division.
  std::uint64_t below(std::uint64_t count) noexcept { return ((next() >> 32) * count) >> 32; }
  /// The number that belongs to `index`, in any order.
  [[nodiscard]] static std::uint64_t at(std::uint64_t seed, std::uint64_t index) noexcept {
    return mix(seed + increment * index);
  }

 private:
  static constexpr std::uint64_t increment = 0x9e3779b97f4a7c15ULL;
  static std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  std::uint64_t state_;
};

}  // namespace detail

/// A uniform choice at each step, given by the seed: the same on every machine.
class RandomStrategy final : public Strategy {
 public:
  explicit RandomStrategy(std::uint64_t seed) noexcept : random_(seed) {}

  [[nodiscard]] std::size_t choose(std::span<const Ready> ready) override {
    return static_cast<std::size_t>(random_.below(ready.size()));
  }

 private:
  detail::RandomNumbers random_;
};

/// A prescribed list of choices, and the longest waiting handler after its end. It records what it chose among how
/// many, so that `next_sequence` can go through all of them, depth first.
class PrescribedStrategy final : public Strategy {
 public:
  struct Choice {
    std::size_t index;
    std::size_t among;
  };

  /// `record` is read as far as it goes and extended after it; it outlives the strategy. An `among` of 0 is not
  /// compared.
  explicit PrescribedStrategy(std::vector<Choice>& record) noexcept : record_(record) {}

  /// Throws `Error(Errc::invalid_argument)` when the choices are from another program: then what runs is not
  /// deterministic.
  [[nodiscard]] std::size_t choose(std::span<const Ready> ready) override {
    if (position_ == record_.size()) record_.push_back({0, ready.size()});
    Choice& choice = record_[position_++];
    if (choice.among == 0) choice.among = ready.size();
    if (choice.among != ready.size() || choice.index >= ready.size()) {
      throw Error(Errc::invalid_argument,
                  "the choices don't fit what runs: it is not deterministic, or they are from another scenario");
    }
    return choice.index;
  }

  /// Changes a record into the one of the next run of a depth-first search. False: that was the last one.
  [[nodiscard]] static bool next_sequence(std::vector<Choice>& record) noexcept {
    while (!record.empty() && record.back().index + 1 >= record.back().among) record.pop_back();
    if (record.empty()) return false;
    ++record.back().index;
    return true;
  }

 private:
  std::vector<Choice>& record_;
  std::size_t position_ = 0;
};

}  // namespace weir::sim
