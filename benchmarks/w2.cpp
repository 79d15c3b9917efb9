#include "pool_subject.hpp"
#include "programs.hpp"
#include "references/asio_channel.hpp"
#include "references/lamport_ring.hpp"
#include "references/queue_subjects.hpp"
#include "subjects/weir_channel.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

// Small enough that both sides have something to do at any time.
constexpr std::size_t batch = 64;

template <class T, class Channel, std::size_t values_at_a_time>
constexpr auto run_weir = &run_weir_channel_pool<T, Traffic<Channel, 1, 1, values_at_a_time>>;

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
      mutex_queue_subject<T>(),
      pool_subject("asio_channel", {}, &run_asio_channel_pool<AsioUse::plain, T>),
      pool_subject("asio_channel_try_first", {}, &run_asio_channel_pool<AsioUse::try_first, T>),
      tbb_queue_subject<T>(),
      moodycamel_subject<T>(),
      go_subject("W2", payload_name<T>),
      tokio_subject("W2", payload_name<T>),
      pool_subject("weir", "shared", run_weir<T, SharedChannel, 0>),
      pool_subject("weir", "shared_bulk", run_weir<T, SharedChannel, batch>),
      pool_subject("weir", "spsc", run_weir<T, SpscChannel, 0>),
      pool_subject("weir", "spsc_bulk", run_weir<T, SpscChannel, batch>),
  };
  return group;
}

}  // namespace

std::vector<Group> w2_groups() { return {w2_group<U64>(), w2_group<P64>()}; }

}  // namespace weir_bench
