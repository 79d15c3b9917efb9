#include <string>

#include "pool_subject.hpp"
#include "programs.hpp"
#include "references/asio_channel.hpp"
#include "references/asio_request.hpp"
#include "references/coroutine_switch.hpp"
#include "references/lamport_ring.hpp"
#include "references/queue_subjects.hpp"
#include "subjects/weir_channel.hpp"
#include "subjects/weir_request.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

template <class T>
Group w5_group(const char* job, std::int64_t threads, std::string title) {
  Group group;
  group.id = "W5";
  group.title = std::move(title);
  group.payload = payload_name<T>;
  group.fields = {{"job", std::string(job)}, {"threads", threads}};
  return group;
}

// The names of variants differ between the jobs, so that a name is one figure in the whole workload.
template <class T>
Group hand_off_one_thread() {
  Group group = w5_group<T>("hand_off", 1, "hand-off through capacity 1, one thread");
  group.references = {"coroutine_switch"};
  group.subjects = {
      {.name = "coroutine_switch", .variant = "local", .run = &run_coroutine_switch},
      {.name = "asio_channel", .variant = "local", .run = &run_asio_channel_one_thread<AsioUse::plain, T, 1>},
      {.name = "asio_channel_try_first",
       .variant = "local",
       .run = &run_asio_channel_one_thread<AsioUse::try_first, T, 1>},
      go_subject("W5.local", group.payload, "local"),
      tokio_subject("W5.local", group.payload, "local"),
      {.name = "weir", .variant = "local", .run = &run_weir_channel_one_thread<T, Traffic<LocalChannel, 1, 1, 0, 1>>},
      {.name = "weir",
       .variant = "shared_on_one_thread",
       .run = &run_weir_channel_one_thread<T, Traffic<SharedChannel, 1, 1, 0, 1>>},
  };
  return group;
}

template <class T>
Group hand_off_two_threads() {
  Group group = w5_group<T>("hand_off", 2, "hand-off through capacity 1, two threads");
  group.references = {"go", "asio_channel"};
  group.subjects = {
      {.name = "lamport_ring", .variant = "shared", .run = &run_lamport_ring<T, 1, Spinning, 1>},
      mutex_queue_subject<T, 1, 1, 1>("shared"),
      pool_subject("asio_channel", "shared", &run_asio_channel_pool<AsioUse::plain, T, 1, 1, 1>),
      pool_subject("asio_channel_try_first", "shared", &run_asio_channel_pool<AsioUse::try_first, T, 1, 1, 1>),
      tbb_queue_subject<T, 1, 1, 1>("shared"),
      Subject::absent("moodycamel", "shared", "it cannot be bounded to one value"),
      go_subject("W5.shared", group.payload, "shared"),
      tokio_subject("W5.shared", group.payload, "shared"),
      pool_subject("weir", "shared", &run_weir_channel_pool<T, Traffic<SharedChannel, 1, 1, 0, 1>>),
      pool_subject("weir", "spsc", &run_weir_channel_pool<T, Traffic<SpscChannel, 1, 1, 0, 1>>),
  };
  return group;
}

template <class T>
Group request_one_thread() {
  Group group = w5_group<T>("request_reply", 1, "a request and its reply, each through capacity 1, one thread");
  group.references = {"coroutine_switch"};
  group.subjects = {
      {.name = "coroutine_switch", .variant = "local_request", .run = &run_coroutine_switch},
      {.name = "asio_channel", .variant = "local_request", .run = &run_asio_request_one_thread<AsioUse::plain, T>},
      {.name = "asio_channel_try_first",
       .variant = "local_request",
       .run = &run_asio_request_one_thread<AsioUse::try_first, T>},
      go_subject("W5.local_request", group.payload, "local_request"),
      tokio_subject("W5.local_request", group.payload, "local_request"),
      {.name = "weir", .variant = "local_request", .run = &run_weir_request_one_thread<T, LocalChannel>},
      {.name = "weir",
       .variant = "shared_on_one_thread_request",
       .run = &run_weir_request_one_thread<T, SharedChannel>},
  };
  return group;
}

template <class T>
Group request_two_threads() {
  Group group = w5_group<T>("request_reply", 2, "a request and its reply, each through capacity 1, two threads");
  group.references = {"go", "asio_channel"};
  group.subjects = {
      {.name = "lamport_ring", .variant = "shared_request", .run = &run_lamport_request<T>},
      {.name = "mutex_condvar", .variant = "shared_request", .run = &run_request_on_threads<MutexQueue<T>, T>},
      pool_subject("asio_channel", "shared_request", &run_asio_request_pool<AsioUse::plain, T>),
      pool_subject("asio_channel_try_first", "shared_request", &run_asio_request_pool<AsioUse::try_first, T>),
      go_subject("W5.shared_request", group.payload, "shared_request"),
      tokio_subject("W5.shared_request", group.payload, "shared_request"),
      pool_subject("weir", "shared_request", &run_weir_request_pool<T, SharedChannel>),
      pool_subject("weir", "spsc_request", &run_weir_request_pool<T, SpscChannel>),
  };
  return group;
}

}  // namespace

std::vector<Group> w5_groups() {
  return {hand_off_one_thread<U64>(),  hand_off_one_thread<P64>(), hand_off_two_threads<U64>(),
          hand_off_two_threads<P64>(), request_one_thread<U64>(),  request_one_thread<P64>(),
          request_two_threads<U64>(),  request_two_threads<P64>()};
}

}  // namespace weir_bench
