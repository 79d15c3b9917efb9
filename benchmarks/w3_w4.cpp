#include <string>

#include "pool_subject.hpp"
#include "programs.hpp"
#include "references/asio_channel.hpp"
#include "references/lamport_ring.hpp"
#include "references/queue_subjects.hpp"
#include "subjects/weir_channel.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

constexpr std::size_t senders = 4;
constexpr std::size_t batch = 64;

template <class T, std::size_t receivers, std::size_t values_at_a_time>
constexpr auto run_weir = &run_weir_channel_pool<T, Traffic<SharedChannel, senders, receivers, values_at_a_time>>;

template <class T, std::size_t receivers>
Group many_to_some(const std::string& id, const std::string& ends) {
  const std::string_view payload = payload_name<T>;
  Group group;
  group.id = id;
  group.title = ends + ", two threads, capacity 1024";
  group.payload = payload;
  group.references = {"go", "asio_channel_try_first"};
  group.subjects = {
      // One writer and one reader: what two threads can pass to each other at all.
      {.name = "lamport_ring", .variant = {}, .run = &run_lamport_ring<T, 1>},
      mutex_queue_subject<T, senders, receivers>(),
      pool_subject("asio_channel", {}, &run_asio_channel_pool<AsioUse::plain, T, senders, receivers>),
      pool_subject("asio_channel_try_first", {}, &run_asio_channel_pool<AsioUse::try_first, T, senders, receivers>),
      tbb_queue_subject<T, senders, receivers>(),
      moodycamel_subject<T, senders, receivers>(),
      go_subject(id, payload),
      receivers == 1 ? tokio_subject(id, payload) : Subject::absent("tokio", {}, "its mpsc channel has one receiver"),
      pool_subject("weir", "shared", run_weir<T, receivers, 0>),
      pool_subject("weir", "shared_bulk", run_weir<T, receivers, batch>),
  };
  return group;
}

}  // namespace

std::vector<Group> w3_groups() {
  constexpr const char* ends = "four senders, one receiver";
  return {many_to_some<U64, 1>("W3", ends), many_to_some<P64, 1>("W3", ends)};
}

std::vector<Group> w4_groups() {
  constexpr const char* ends = "four senders, four receivers";
  return {many_to_some<U64, 4>("W4", ends), many_to_some<P64, 4>("W4", ends)};
}

}  // namespace weir_bench
