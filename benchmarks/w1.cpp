#include "programs.hpp"
#include "references/asio_channel.hpp"
#include "references/coroutine_switch.hpp"
#include "references/mutex_queue.hpp"
#include "references/raw_ring.hpp"
#include "subjects/weir_channel.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

// As much at a time as the raw ring takes.
constexpr std::size_t batch = default_capacity;

template <class T, class Channel, std::size_t values_at_a_time>
constexpr auto run_weir = &run_weir_channel_one_thread<T, Traffic<Channel, 1, 1, values_at_a_time>>;

template <class T>
Group w1_group() {
  Group group;
  group.id = "W1";
  group.title = "one sender, one receiver, one thread, capacity 1024";
  group.payload = payload_name<T>;
  group.references = {"raw_ring"};
  group.subjects = {
      {.name = "raw_ring", .variant = {}, .run = &run_raw_ring<T>},
      {.name = "coroutine_switch", .variant = {}, .run = &run_coroutine_switch},
      {.name = "mutex_condvar", .variant = {}, .run = &run_mutex_queue_one_thread<T>},
      {.name = "asio_channel", .variant = {}, .run = &run_asio_channel_one_thread<AsioUse::plain, T>},
      {.name = "asio_channel_try_first", .variant = {}, .run = &run_asio_channel_one_thread<AsioUse::try_first, T>},
      go_subject("W1", payload_name<T>),
      tokio_subject("W1", payload_name<T>),
      {.name = "weir", .variant = "local", .run = run_weir<T, LocalChannel, 0>},
      {.name = "weir", .variant = "local_bulk", .run = run_weir<T, LocalChannel, batch>},
      {.name = "weir", .variant = "shared", .run = run_weir<T, SharedChannel, 0>},
      {.name = "weir", .variant = "shared_bulk", .run = run_weir<T, SharedChannel, batch>},
  };
  return group;
}

}  // namespace

std::vector<Group> w1_groups() { return {w1_group<U64>(), w1_group<P64>()}; }

}  // namespace weir_bench
