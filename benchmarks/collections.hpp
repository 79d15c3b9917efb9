#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "payload.hpp"

namespace weir_bench {

/// What a stream ends in. The results are kept as they are, or counted by key as the reports of a log are.
struct IntoVector {
  using type = std::vector<U64>;
  static constexpr const char* name = "vector";

  static void collect(type& collection, U64 result) { collection.push_back(result); }

  static void expect_all(const type& collection, U64 events, U64 expected_sum) {
    U64 sum = 0;
    for (const U64 result : collection) sum += result;
    expect_delivered(events, collection.size());
    expect_delivered(expected_sum, sum);
  }
};

struct IntoMap {
  using type = std::map<U64, U64>;
  static constexpr const char* name = "map";
  static constexpr U64 keys = 256;

  /// The upper bits, because p64's digests are multiples of eight plus a constant.
  [[nodiscard]] static U64 key_of(U64 result) noexcept { return result / 8 % keys; }

  static void collect(type& collection, U64 result) { ++collection[key_of(result)]; }

  static void expect_all(const type& collection, U64 events, U64 /*expected_sum*/) {
    U64 count = 0;
    for (const auto& [key, seen] : collection) count += seen;
    expect_delivered(events, count);
  }
};

/// A collection that several receivers write to, one lock an item.
template <class Into>
class LockedCollection {
 public:
  void collect(U64 result) {
    const std::lock_guard lock(mutex_);
    Into::collect(collection_, result);
  }

  /// To be called when nobody collects any more.
  [[nodiscard]] const typename Into::type& collected() const noexcept { return collection_; }

 private:
  std::mutex mutex_;
  typename Into::type collection_;
};

}  // namespace weir_bench
