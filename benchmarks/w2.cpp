#include "references/asio_channel.hpp"
#include "references/lamport_ring.hpp"
#include "references/mutex_queue.hpp"
#if WEIR_BENCH_HAS_TBB
#  include "references/tbb_queue.hpp"
#endif
#if WEIR_BENCH_HAS_MOODYCAMEL
#  include "references/moodycamel_queue.hpp"
#endif
#include "pool_subject.hpp"
#include "subjects/weir_channel.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

template <class T>
Subject tbb_subject() {
#if WEIR_BENCH_HAS_TBB
  return {.name = "tbb_bounded_queue", .variant = {}, .run = &run_tbb_bounded_queue<T>, .allocations_counted = false};
#else
  return Subject::absent("tbb_bounded_queue", "built without oneTBB");
#endif
}

template <class T>
Subject moodycamel_subject() {
#if WEIR_BENCH_HAS_MOODYCAMEL
  return {.name = "moodycamel", .variant = {}, .run = &run_moodycamel<T>, .allocations_counted = false};
#else
  return Subject::absent("moodycamel", "built without concurrentqueue");
#endif
}

// Small enough that both sides have something to do at any time.
constexpr std::size_t batch = 64;

template <class T>
Group w2_group() {
  Group group;
  group.id = "W2";
  group.title = "one sender, one receiver, two threads, capacity 1024";
  group.payload = payload_name<T>;
  group.references = {"lamport_ring"};
  group.subjects = {
      {.name = "lamport_ring", .variant = {}, .run = &run_lamport_ring<T, 1>},
      {.name = "lamport_ring", .variant = "bulk", .run = &run_lamport_ring<T, batch>},
      {.name = "mutex_condvar", .variant = {}, .run = &run_mutex_queue_two_threads<T>},
      pool_subject("asio_channel", {}, &run_asio_channel_pool<AsioUse::plain, T>),
      pool_subject("asio_channel_try_first", {}, &run_asio_channel_pool<AsioUse::try_first, T>),
      tbb_subject<T>(),
      moodycamel_subject<T>(),
      pool_subject("weir", "shared", &run_weir_channel_pool<T, SharedChannel, 0>),
      pool_subject("weir", "shared_bulk", &run_weir_channel_pool<T, SharedChannel, batch>),
      pool_subject("weir", "spsc", &run_weir_channel_pool<T, SpscChannel, 0>),
      pool_subject("weir", "spsc_bulk", &run_weir_channel_pool<T, SpscChannel, batch>),
  };
  return group;
}

}  // namespace

std::vector<Group> w2_groups() { return {w2_group<U64>(), w2_group<P64>()}; }

}  // namespace weir_bench
